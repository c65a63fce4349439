# For those who build with a container engine. "make image" builds the same without one.
# The Go is that of go.mod's line "toolchain", which test/supply holds.
FROM --platform=$BUILDPLATFORM golang:1.26.11 AS build
ARG TARGETOS TARGETARCH VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/khook ./cmd/khook \
 && mkdir -p /out/tmp /out/etc && chmod 1777 /out/tmp && chmod 0555 /out/khook \
 && printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >/out/etc/passwd \
 && printf 'root:x:0:\nnonroot:x:65532:\n' >/out/etc/group

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title=khook \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.source=https://github.com/kagent-dev/khook \
      org.opencontainers.image.licenses=Apache-2.0
COPY --from=build /out /
ENV PATH=/
USER 65532:65532
EXPOSE 8080 8081 8082
ENTRYPOINT ["/khook"]
CMD ["controller"]
