package skew

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestTheClockOfAServerThatIsOff(t *testing.T) {
	for off, dated := range map[time.Duration]bool{0: true, time.Hour: true, -time.Minute: true, time.Second: false} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			if dated {
				w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			}
		}))
		var m Meter
		client := http.Client{Transport: m.Wrap(http.DefaultTransport)}
		for range 2 {
			resp, err := client.Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		}
		ahead, within, known := m.Ahead()
		if wrong := (ahead + off).Abs(); known != dated || known && wrong > within {
			t.Errorf("off by %s: %s within %s, %v", off, ahead, within, known)
		}
		s.Close()
	}
}
