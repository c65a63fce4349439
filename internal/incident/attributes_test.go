package incident

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func podSignal(restarts int32, labels map[string]string) *Signal {
	return &Signal{
		Key: "k", Kind: Observed, Type: PodRestart, Observation: Observation{
			Resource: Resource{Kind: "Pod", UID: "u"}, Attributes: Attributes{Pod: &PodAttributes{RestartCount: restarts, Labels: labels}},
		}, At: time.Unix(1, 0),
	}
}

func TestAnIncidentHasTheNewestRestartCountAndItsFirstLabels(t *testing.T) {
	first, second := map[string]string{"version": "1"}, map[string]string{"version": "2"}
	i := Open(Origin{}, podSignal(1, first))
	i.Observe(podSignal(2, second))
	want := Attributes{Pod: &PodAttributes{RestartCount: 2, Labels: first}}
	if diff := cmp.Diff(want, i.Attributes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	ev := NewEvent(i, podSignal(2, second), time.Unix(2, 0))
	if diff := cmp.Diff(Attributes{Pod: &PodAttributes{RestartCount: 2}}, ev.Attributes); diff != "" {
		t.Errorf("its event (-want +got)\n%s", diff)
	}
}

func TestASignalOfAnotherSourceIsNoPod(t *testing.T) {
	s := Signal{Key: "k", Kind: Observed, Type: "disk-full", Observation: Observation{Resource: Resource{Kind: "Host", Name: "db1", UID: "db1"}}}.Fitted()
	i := Open(Origin{}, &s)
	if ev := NewEvent(i, &s, time.Unix(2, 0)); s.Attributes.Pod != nil || i.Attributes.Pod != nil || ev.Attributes.Pod != nil {
		t.Errorf("signal %+v, incident %+v, event %+v", s.Attributes, i.Attributes, ev.Attributes)
	}
	if diff := cmp.Diff(PodAttributes{}, s.Attributes.PodOrZero()); diff != "" {
		t.Errorf("match expressions and prompts see (-want +got)\n%s", diff)
	}
}
