// The resources of cert-manager, which tests give to an API server: they are files of its module.
module github.com/kagent-dev/khook/tools/cert-manager

go 1.26.0

toolchain go1.26.11

require github.com/cert-manager/cert-manager v1.21.2
