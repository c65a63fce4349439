// Package notify tells people outside of khook what they must know of: that something waits for them, what became of it, that khook is unwell. It
// reads the notifiers' file, gives messages the shape that each receiver takes, and sends them until they are taken. It must not
// change anything but its own rows, and nothing waits for it: a receiver that is dead is alone with that.
package notify
