//! How many bytes of the clouds' replies one worker holds at a time.

use std::cell::Cell;
use std::rc::Rc;

/// The most that whole replies may take together. The VM's memory ends at 4 GiB and never shrinks; a request
/// that does not fit is told to come back, where an allocation that fails would end all streams of the worker.
const MOST: usize = 1024 * 1024 * 1024;

/// What is taken of the room; of all requests under one plan.
#[derive(Clone, Debug, Default)]
pub struct Room(Rc<Cell<usize>>);

impl Room {
    /// A share of the room, empty as yet.
    pub fn share(&self) -> Share {
        Share { room: self.clone(), bytes: 0 }
    }
}

/// What one reply takes of the room, until it is dropped.
#[derive(Debug)]
pub struct Share {
    room: Room,
    bytes: usize,
}

impl Share {
    /// Makes the share at least so large. `false`: there is no room for that now.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let taken = self.room.0.get().saturating_add(more);
        if taken > MOST {
            return false;
        }
        self.room.0.set(taken);
        self.bytes = self.bytes.saturating_add(more);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get().saturating_sub(self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_shared_and_comes_back() {
        let room = Room::default();
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.grow(MOST - 10) && one.grow(5) && other.grow(10));
        assert!(!other.grow(11) && !one.grow(MOST - 9));
        drop(one);
        assert!(other.grow(MOST));
        drop(other);
        assert_eq!(room.0.get(), 0);
    }
}
