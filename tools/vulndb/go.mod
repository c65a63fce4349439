// The database of known vulnerabilities, which "make vulncheck" goes by: it is files of its module.
module github.com/kagent-dev/khook/tools/vulndb

go 1.26.0

toolchain go1.26.11

require golang.org/x/vulndb v0.0.0-20261105234957-e22db6528018
