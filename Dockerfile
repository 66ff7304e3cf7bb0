# The reaper: one static binary, without a shell, as a user without rights.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd cmd
COPY controllers controllers
COPY internal internal
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /reaper ./cmd/reaper

FROM gcr.io/distroless/static:nonroot
COPY --from=build /reaper /reaper
USER 65532:65532
ENTRYPOINT ["/reaper"]
