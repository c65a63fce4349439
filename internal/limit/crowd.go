package limit

import "container/list"

// crowd is those who wait under one word of their paths: crowds of the next word, or waiters.
type crowd struct {
	parent *crowd
	word   string
	size   int               // waiters in all
	parts  map[string]*crowd // by the next word
	turns  *list.List        // *crowd in the order of their turns, or *waiter in the order in which they came
	at     *list.Element     // in the parent's turns
}

// place is where a waiter is in its crowd; zero if it waits no more.
type place struct {
	in *crowd
	at *list.Element
}

func newCrowd(parent *crowd, word string) *crowd {
	return &crowd{parent: parent, word: word, parts: map[string]*crowd{}, turns: list.New()}
}

// add puts a waiter behind the others of its path. All paths of a crowd have the same length.
func (c *crowd) add(path []string, w *waiter) {
	c.size++
	if len(path) == 0 {
		w.place = place{c, c.turns.PushBack(w)}
		return
	}
	part := c.parts[path[0]]
	if part == nil {
		part = newCrowd(c, path[0])
		part.at = c.turns.PushBack(part)
		c.parts[path[0]] = part
	}
	part.add(path[1:], w)
}

// next is the waiter whose turn it is: of each crowd the part that had its turn longest ago, and
// there the newest.
func (c *crowd) next() *waiter {
	for {
		first := c.turns.Front()
		part, ok := first.Value.(*crowd)
		if !ok {
			return c.turns.Back().Value.(*waiter) //nolint:forcetypeassert // there is nothing else
		}
		c.turns.MoveToBack(first)
		c = part
	}
}

// inLargest is the oldest waiter of the part in which most wait, and of its largest part, and so on.
func (c *crowd) inLargest() *waiter {
	for len(c.parts) > 0 {
		var largest *crowd
		for _, part := range c.parts {
			if largest == nil || part.size > largest.size {
				largest = part
			}
		}
		c = largest
	}
	return c.turns.Front().Value.(*waiter) //nolint:forcetypeassert // there is nothing else
}

func (p *place) isWaiting() bool { return p.in != nil }

// remove takes the waiter out, with the crowds that are empty then.
func (p *place) remove() {
	p.in.turns.Remove(p.at)
	for c := p.in; c != nil; c = c.parent {
		if c.size--; c.size == 0 && c.parent != nil {
			c.parent.turns.Remove(c.at)
			delete(c.parent.parts, c.word)
		}
	}
	*p = place{}
}
