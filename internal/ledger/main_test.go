package ledger

import (
	"testing"

	"github.com/kagent-dev/khook/internal/store/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
