package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// copiedTable is a table with rows of clusters. In a batch are few rows where they are long.
type copiedTable struct {
	name, key string
	batch     int
	eventID   string // the column with the ID of an event, in which the cluster's number is
	isEvent   string // the column that says whether eventID has one ("event"); empty if it always has
}

// copiedTables are all tables but those that are of the database, and not of a cluster.
var copiedTables = []copiedTable{
	{name: "incidents", key: "id"},
	{name: "events", key: "id", eventID: "id"},
	{name: "deliveries", key: "id", batch: 100},
	{name: "delivery_incidents", key: "delivery_id, incident_id"},
	{name: "delivery_log", key: "delivery_id, n", batch: 100},
	{name: "delivery_groups", key: "hook_ns, hook, config, grp"},
	{name: "decisions", key: "event_id, hook_ns, hook, config", eventID: "event_id"},
	{name: "hook_incidents", key: "incident_id, hook_ns, hook"},
	{name: "hook_configs", key: "hook_ns, hook, config", batch: 100},
	{name: "changes", key: "seq", eventID: "id", isEvent: "kind"},
	{name: "event_counts", key: "span, namespace, start, type, status"},
	{name: "hook_counts", key: "span, hook_ns, hook, start, config, name"},
	{name: "pauses", key: "namespace, hook"},
	{name: "notices", key: "notifier, id", batch: 100},
	{name: "notifiers", key: "name"},
	{name: "dead_letters", key: "id", batch: 100},
	{name: "terms", key: "term"},
	{name: "intake", key: "id", batch: 20},
}

// copyBatch is how many rows are copied in one transaction where they are short.
const copyBatch = 1000

// tableShape is a table with its columns but the cluster's, which are the same in both databases.
type tableShape struct {
	copiedTable
	columns []string
	keys    []int // which of the columns are the key
}

func (s *tableShape) batch() int { return cmp.Or(s.copiedTable.batch, copyBatch) }

// shapeOf reads which columns a table has.
func (h *historyCopy) shapeOf(ctx context.Context, t copiedTable) (*tableShape, error) {
	here, err := columnsOf(ctx, h.src, t.name)
	if err != nil {
		return nil, err
	}
	there, err := columnsOf(ctx, h.dst, t.name)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(here, there) {
		return nil, fmt.Errorf("%w: %s has the columns %v in the file and %v in the database", errUnlike, t.name, here, there)
	}
	shape := &tableShape{copiedTable: t, columns: here}
	for column := range strings.SplitSeq(t.key, ", ") {
		shape.keys = append(shape.keys, slices.Index(here, column))
	}
	return shape, nil
}

// columnsOf are the columns of a table, in the order of their names.
func columnsOf(ctx context.Context, of copyEnd, table string) ([]string, error) {
	rows, err := of.query(ctx, "SELECT * FROM "+table+" WHERE 1 = 0")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	columns = slices.DeleteFunc(columns, func(c string) bool { return c == "cluster" })
	slices.Sort(columns)
	return columns, rows.Err()
}

// copyKey is the key of a row: numbers and texts.
type copyKey []keyPart

type keyPart struct {
	Number int64  `json:",omitempty"`
	Text   []byte `json:",omitempty"` // whatever the bytes are
	IsText bool   `json:",omitempty"`
}

func (k copyKey) args() (args []any) {
	for _, part := range k {
		if part.IsText {
			args = append(args, string(part.Text))
		} else {
			args = append(args, part.Number)
		}
	}
	return args
}

func (s *tableShape) keyOf(row []any) (key copyKey) {
	for _, i := range s.keys {
		switch v := row[i].(type) {
		case int64:
			key = append(key, keyPart{Number: v})
		case string:
			key = append(key, keyPart{Text: []byte(v), IsText: true})
		}
	}
	return key
}

// page reads the rows of a cluster after one, in the order of the key.
func (s *tableShape) page(ctx context.Context, of copyEnd, cluster int64, after copyKey) ([][]any, error) {
	query, args := "SELECT "+strings.Join(s.columns, ", ")+" FROM "+s.name+" WHERE cluster = ?", []any{cluster}
	if len(after) > 0 {
		query += " AND (" + s.key + ") > (" + placeholders(len(after)) + ")"
		args = append(args, after.args()...)
	}
	rows, err := of.query(ctx, query+" ORDER BY "+s.key+" LIMIT ?", append(args, s.batch())...)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(row scanner) ([]any, error) {
		values, into := make([]any, len(s.columns)), make([]any, len(s.columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := row.Scan(into...); err != nil {
			return nil, err
		}
		for i, v := range values {
			if values[i], err = plainValue(v); err != nil {
				return nil, fmt.Errorf("column %s: %w", s.columns[i], err)
			}
		}
		return values, nil
	})
}

// plainValue is a value as both databases have it: nil, an int64 or a string.
func plainValue(v any) (any, error) {
	switch v := v.(type) {
	case nil, int64, string:
		return v, nil
	case int32:
		return int64(v), nil
	case []byte:
		return string(v), nil
	}
	return nil, fmt.Errorf("a value of the type %T is neither a number nor a text", v)
}

// numbered is a row as it is for a cluster of another number: the IDs of events have it in them.
func (s *tableShape) numbered(row []any, cluster int64) ([]any, error) {
	row = storable(row)
	if s.eventID == "" || s.isEvent != "" && row[slices.Index(s.columns, s.isEvent)] != kindEvent {
		return row, nil
	}
	to, row := &Cluster{No: cluster}, slices.Clone(row)
	at := slices.Index(s.columns, s.eventID)
	switch id := row[at].(type) {
	case int64:
		row[at] = to.eventID(id & eventNumber)
	case string:
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the ID of an event: %w", err)
		}
		row[at] = strconv.FormatInt(to.eventID(n&eventNumber), 10)
	}
	return row, nil
}

// sum adds up all rows of a cluster, as they would be if its number were 0.
func (h *historyCopy) sum(ctx context.Context, s *tableShape, of copyEnd, cluster int64, report func(rows int64)) (CopiedTable, error) {
	digest, n := sha256.New(), int64(0)
	var after copyKey
	for {
		rows, err := s.page(ctx, of, cluster, after)
		if err != nil {
			return CopiedTable{}, err
		}
		for _, row := range rows {
			plain, err := s.numbered(row, 0)
			if err != nil {
				return CopiedTable{}, err
			}
			addRow(digest, plain)
		}
		n += int64(len(rows))
		report(n)
		if len(rows) < s.batch() {
			return CopiedTable{Name: s.name, Rows: n, Sum: hex.EncodeToString(digest.Sum(nil))}, nil
		}
		after = s.keyOf(rows[len(rows)-1])
	}
}

// addRow adds a row to a digest, so that no two rows are the same bytes.
func addRow(digest hash.Hash, row []any) {
	for _, v := range row {
		switch v := v.(type) {
		case nil:
			digest.Write([]byte{0})
		case int64:
			digest.Write(binary.BigEndian.AppendUint64([]byte{1}, uint64(v)))
		case string:
			digest.Write(binary.BigEndian.AppendUint64([]byte{2}, uint64(len(v))))
			digest.Write([]byte(v))
		}
	}
}
