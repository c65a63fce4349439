package server

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kagent-dev/khook/internal/api"
	"github.com/kagent-dev/khook/internal/delivery"
	"github.com/kagent-dev/khook/internal/store"
)

func TestDeliveriesWithoutACallAreNoFailuresOfAHook(t *testing.T) {
	var got api.HookStatistics
	countStatistics(&got, map[string]int64{
		"delivery:" + string(delivery.Succeeded): 4, "delivery:" + string(delivery.Failed): 2, "delivery:" + string(delivery.Canceled): 3, store.SkippedCount: 2,
	})
	if diff := cmp.Diff(api.HookStatistics{Succeeded: 4, Failed: 3, Skipped: 2}, got); diff != "" {
		t.Error(diff)
	}
}
