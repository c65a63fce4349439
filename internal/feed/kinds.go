package feed

import "slices"

// Kind is of what a message tells a change.
type Kind string

// The kinds.
const (
	KindEvent    Kind = "event"
	KindIncident Kind = "incident"
	KindDelivery Kind = "delivery"
)

// Kinds is a set of kinds; the empty one is that of events only, which is what streams were of before there were others.
type Kinds uint8

// The kinds as a set.
const (
	Events Kinds = 1 << iota
	Incidents
	Deliveries
)

var setOf = map[Kind]Kinds{KindEvent: Events, KindIncident: Incidents, KindDelivery: Deliveries}

// KindsOf is the set of some kinds; false if one is none.
func KindsOf(kinds []Kind) (set Kinds, ok bool) {
	for _, kind := range kinds {
		set |= setOf[kind]
	}
	return set, !slices.ContainsFunc(kinds, func(kind Kind) bool { return setOf[kind] == 0 })
}

func (k Kinds) of(kind Kind) bool {
	switch kind {
	case KindEvent:
		return k == 0 || k&Events != 0
	case KindIncident:
		return k&Incidents != 0
	default:
		return k&Deliveries != 0
	}
}
