# Images of the reaper and of the kubectl plugin. Each has one static binary, no shell, and a user without
# rights. The binaries are built on this machine's platform for the platform of the image. They are the same to
# the byte on every machine: test/image has the test.
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

# The kubectl plugin, as an image that Pods can mount: docker build --target dlock.
FROM build AS build-dlock
COPY pkg pkg
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w" -o /kubectl-dlock ./cmd/kubectl-dlock

FROM gcr.io/distroless/static:nonroot AS dlock
COPY --from=build-dlock /kubectl-dlock /kubectl-dlock
USER 65532:65532
ENTRYPOINT ["/kubectl-dlock"]

FROM gcr.io/distroless/static:nonroot
COPY --from=build /reaper /reaper
USER 65532:65532
ENTRYPOINT ["/reaper"]
