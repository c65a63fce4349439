package boundedlog

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
)

func TestAFloodOfLinesIsBoundedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		log := New(funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
		for i := range 5000 {
			log.WithName("api").WithValues("n", i).Error(errors.New("no"), "cannot ask")
			log.Info(fmt.Sprintf("http: TLS handshake error from 127.0.0.1:%d: EOF", i))
		}
		log.Info("something else")
		if len(lines) != 2*Burst+1 {
			t.Errorf("%d lines were written, want %d", len(lines), 2*Burst+1)
		}
		time.Sleep(2 * time.Second)
		log.Error(nil, "cannot ask")
		if last := lines[len(lines)-1]; !strings.Contains(last, fmt.Sprintf(`"notLogged"=%d`, 5000-Burst)) {
			t.Errorf("the next line does not tell how many were left out: %s", last)
		}
	})
}

func TestMessagesThatAreAllDifferentAreBoundedToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		log := New(funcr.New(func(_, _ string) { n++ }, funcr.Options{}))
		for i := range 100_000 {
			log.Info(strings.Repeat(string(rune('a'+i%26)), i/26%60+1) + string(rune('a'+i/1560%26)))
		}
		if most := (maxMessages + 1) * Burst; n > most {
			t.Errorf("%d lines were written, want at most %d", n, most)
		}
	})
}
