# The reaper: one static binary, without a shell, as a user without rights. It is built
# on this machine's platform for that of the image, and is the same to the byte whoever
# builds it, wherever: hack/image has the test.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY internal internal
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w" -o /reaper ./cmd/reaper

FROM gcr.io/distroless/static:nonroot
COPY --from=build /reaper /reaper
USER 65532:65532
ENTRYPOINT ["/reaper"]
