package delivery

import (
	"testing"
	"time"
)

func TestAnOutcomeIsJudgedByWhatWasSeenInTime(t *testing.T) {
	end := time.Now()
	until := end.Add(10 * time.Minute)
	open, unheard := Aftermath{Open: true, Heard: true}, Aftermath{Open: true}
	early, late := Aftermath{LastEnd: end.Add(time.Minute)}, Aftermath{LastEnd: until.Add(time.Hour)}
	gone, quiet := Aftermath{Gone: true, LastEnd: end.Add(time.Minute)}, Aftermath{Quiet: true, LastEnd: end.Add(time.Minute)}
	again := Aftermath{LastEnd: end.Add(5 * time.Minute), Relapse: end.Add(3 * time.Minute), LastRecovery: end.Add(time.Minute)}
	for name, tc := range map[string]struct {
		all       []Aftermath
		workloads Health
		want      Outcome
	}{
		"open at the window's end":   {[]Aftermath{early, open}, AllHealthy, OutcomePersisting},
		"its node is lost":           {[]Aftermath{early, unheard}, AllHealthy, OutcomeUnknown},
		"lost, and one goes on":      {[]Aftermath{open, unheard}, AllHealthy, OutcomePersisting},
		"all recovered":              {[]Aftermath{early, early}, Unhealthy, OutcomeRecovered},
		"recovered too late":         {[]Aftermath{early, late}, HealthUnknown, OutcomePersisting},
		"gone, workload healthy":     {[]Aftermath{early, gone}, AllHealthy, OutcomeRecovered},
		"gone, workload ill":         {[]Aftermath{early, gone}, Unhealthy, OutcomePersisting},
		"gone, no workload":          {[]Aftermath{early, gone}, HealthUnknown, OutcomeUnknown},
		"gone, one open":             {[]Aftermath{open, gone}, AllHealthy, OutcomePersisting},
		"one went quiet":             {[]Aftermath{quiet}, AllHealthy, OutcomeUnknown},
		"one failed again":           {[]Aftermath{early, again, quiet}, AllHealthy, OutcomeRelapsed},
		"failed again, one goes on":  {[]Aftermath{again, open}, AllHealthy, OutcomePersisting},
		"failed again, one was gone": {[]Aftermath{again, gone}, Unhealthy, OutcomeRelapsed},
		"all were pruned":            {nil, AllHealthy, OutcomeUnknown},
	} {
		if got := Judge(tc.all, until, time.Time{}, func() Health { return tc.workloads }); got.Outcome != tc.want {
			t.Errorf("%s: %q, want %q", name, got.Outcome, tc.want)
		}
	}
}
