// The resources of the Prometheus Operator, which tests give to an API server: they are files of its module.
module github.com/kagent-dev/khook/tools/prometheus-operator

go 1.26.0

toolchain go1.26.11

require github.com/prometheus-operator/prometheus-operator v0.85.0
