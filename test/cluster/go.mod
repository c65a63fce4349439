module github.com/kagent-dev/khook/test/cluster

go 1.26.0

toolchain go1.26.11
