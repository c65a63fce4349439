package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
)

// sbom describes what a program is made of, as the program itself tells: its modules with their
// versions and go.sum's hashes, and the Go release.
func (o options) sbom(program string, p v1.Platform) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	self := component(&debug.Module{Path: info.Main.Path, Version: o.version})
	self.Type = cdx.ComponentTypeApplication
	components := []cdx.Component{standardLibrary(info.GoVersion)}
	for _, m := range info.Deps {
		components = append(components, component(m))
	}
	refs := make([]string, len(components))
	for i, c := range components {
		refs[i] = c.BOMRef
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: o.when.Format(time.RFC3339), Component: &self, Properties: &[]cdx.Property{
		{Name: "khook:platform", Value: p.String()}, {Name: "khook:revision", Value: o.revision},
	}}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	content, err := encode(bom)
	if err != nil {
		return nil, err
	}
	// The serial number is derived from the rest, so that the same program has the same one.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, content).URN()
	return encode(bom)
}

func encode(bom *cdx.BOM) ([]byte, error) {
	var out bytes.Buffer
	err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	return out.Bytes(), err
}

// component is a module, or the one that replaces it.
func component(m *debug.Module) cdx.Component {
	if m.Replace != nil {
		m = m.Replace
	}
	url := fmt.Sprintf("pkg:golang/%s@%s", m.Path, m.Version)
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: url, Name: m.Path, Version: m.Version, PackageURL: url}
	if m.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go:sum", Value: m.Sum}}
	}
	return c
}

func standardLibrary(version string) cdx.Component {
	number, _, _ := strings.Cut(strings.TrimPrefix(version, "go"), " ")
	url := "pkg:golang/std@" + number
	return cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: url, Name: "std", Version: number, PackageURL: url, Description: "Go's standard library"}
}
