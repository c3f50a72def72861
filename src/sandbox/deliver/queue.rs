//! Which delivery is next: due times, and a lane for each receiver so that a slow one holds up nobody else.
//!
//! Only row ids and due times stand here, some thirty bytes for each unfinished delivery; what is sent is read from the
//! store when it is sent. Times are microseconds since the Unix epoch.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

/// How many requests are under way at once, over all receivers.
pub(super) const IN_FLIGHT: usize = 64;

/// An unfinished delivery that is not being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) seq: i64,
    /// Whether it has been tried before.
    pub(super) tried: bool,
    /// Whether a fault has held it back already.
    pub(super) held: bool,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: Vec<Lane>,
    /// Lanes by URL.
    by_url: HashMap<Arc<str>, usize>,
    unused: Vec<usize>,
    /// What is not due yet.
    waiting: BinaryHeap<Reverse<(i64, Item, usize)>>,
    /// Lanes with something that is due, each once, whose turn comes in this order.
    turns: VecDeque<usize>,
    in_flight: HashMap<i64, (usize, bool)>,
    /// Held back until this many later ones have been sent; a heap entry ends the wait if they do not come.
    overtaken: HashMap<i64, u32>,
    /// Lanes with something due or in flight.
    busy: usize,
    retrying: usize,
}

/// What goes to one URL.
#[derive(Debug, Default)]
struct Lane {
    url: Option<Arc<str>>,
    due: VecDeque<Item>,
    waiting: usize,
    in_flight: usize,
    /// Row ids that wait to be overtaken.
    held: Vec<Item>,
    has_turn: bool,
}

impl Queue {
    /// Puts in a delivery that is due at `due`.
    pub(super) fn push(&mut self, url: &Arc<str>, due: i64, item: Item) {
        let lane = self.lane(url);
        self.retrying += usize::from(item.tried);
        self.wait(lane, due, item);
    }

    /// Moves what is due at `now` to its lane.
    pub(super) fn advance(&mut self, now: i64) {
        while let Some(Reverse((due, item, lane))) = self.waiting.peek().copied()
            && due <= now
        {
            self.waiting.pop();
            self.lanes[lane].waiting -= 1;
            if item.held && self.lanes[lane].held.iter().any(|held| held.seq == item.seq) {
                self.overtaken.remove(&item.seq);
                self.let_go(lane, item.seq);
            } else if !self.overtaken_already(item) {
                self.ready(lane, item, false);
            }
            self.retire(lane);
        }
    }

    /// When the next one is due that is not due yet.
    pub(super) fn next_due(&self) -> Option<i64> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    /// Takes the next one to send, if one may be sent now: each receiver in turn, each with no more than its share.
    pub(super) fn take(&mut self) -> Option<Item> {
        if self.in_flight.len() >= IN_FLIGHT {
            return None;
        }
        // One share more than there are receivers stays free for the next that comes.
        let share = (IN_FLIGHT / (self.busy + 1)).max(1);
        for _ in 0..self.turns.len() {
            let lane = self.turns.pop_front()?;
            let full = self.lanes[lane].in_flight >= share;
            if full {
                self.turns.push_back(lane);
                continue;
            }
            self.lanes[lane].has_turn = false;
            let item = self.lanes[lane].due.pop_front()?;
            self.lanes[lane].in_flight += 1;
            self.in_flight.insert(item.seq, (lane, item.tried));
            self.retrying -= usize::from(item.tried);
            self.turn(lane);
            return Some(item);
        }
        None
    }

    /// Puts back what was taken and is not sent after all, at the front.
    pub(super) fn put_back(&mut self, item: Item) {
        if let Some((lane, tried)) = self.leave(item.seq) {
            self.retrying += usize::from(tried);
            self.ready(lane, item, true);
        }
    }

    /// Puts back what was taken, until `due`.
    pub(super) fn hold_until(&mut self, item: Item, due: i64) {
        if let Some((lane, tried)) = self.leave(item.seq) {
            self.retrying += usize::from(tried);
            self.wait(lane, due, Item { held: true, ..item });
        }
    }

    /// Puts back what was taken, until `count` later ones to the same receiver are sent, or until `due`.
    pub(super) fn hold_until_overtaken(&mut self, item: Item, count: u32, due: i64) {
        if let Some((lane, tried)) = self.leave(item.seq) {
            self.retrying += usize::from(tried);
            let item = Item { held: true, ..item };
            self.overtaken.insert(item.seq, count);
            self.lanes[lane].held.push(item);
            self.wait(lane, due, item);
        }
    }

    /// What was taken has been sent. With `again`, it is due once more then.
    pub(super) fn finished(&mut self, seq: i64, again: Option<i64>) {
        let Some((lane, _)) = self.leave(seq) else { return };
        if let Some(due) = again {
            self.retrying += 1;
            self.wait(lane, due, Item { seq, tried: true, held: false });
        }
        let overtaken = self.lanes[lane].held.iter().filter(|held| held.seq < seq);
        let overtaken: Vec<i64> = overtaken.map(|held| held.seq).collect();
        for seq in overtaken {
            let left = self.overtaken.get_mut(&seq).map_or(0, |left| {
                *left = left.saturating_sub(1);
                *left
            });
            if left == 0 {
                self.let_go(lane, seq);
            }
        }
        self.retire(lane);
    }

    /// Multiplies every wait from `now` on by `factor`.
    pub(super) fn stretch(&mut self, now: i64, factor: f64) {
        let waiting = std::mem::take(&mut self.waiting).into_vec();
        let stretched = waiting.into_iter().map(|Reverse((due, item, lane))| {
            let due = if due > now { now.saturating_add(((due - now) as f64 * factor) as i64) } else { due };
            Reverse((due, item, lane))
        });
        self.waiting = stretched.collect();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// How many wait for another attempt.
    pub(super) fn retrying(&self) -> usize {
        self.retrying
    }

    fn lane(&mut self, url: &Arc<str>) -> usize {
        if let Some(lane) = self.by_url.get(url) {
            return *lane;
        }
        let lane = self.unused.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            self.lanes.len() - 1
        });
        self.lanes[lane].url = Some(Arc::clone(url));
        self.by_url.insert(Arc::clone(url), lane);
        lane
    }

    fn wait(&mut self, lane: usize, due: i64, item: Item) {
        self.lanes[lane].waiting += 1;
        self.waiting.push(Reverse((due, item, lane)));
    }

    fn ready(&mut self, lane: usize, item: Item, first: bool) {
        self.busy += usize::from(self.lanes[lane].is_idle());
        let due = &mut self.lanes[lane].due;
        if first {
            due.push_front(item);
        } else {
            due.push_back(item);
        }
        self.turn(lane);
    }

    /// Gives the lane its place among the turns, if it has something to do with one.
    fn turn(&mut self, lane: usize) {
        let it = &mut self.lanes[lane];
        if !it.has_turn && !it.due.is_empty() {
            it.has_turn = true;
            self.turns.push_back(lane);
        }
    }

    fn leave(&mut self, seq: i64) -> Option<(usize, bool)> {
        let (lane, tried) = self.in_flight.remove(&seq)?;
        self.lanes[lane].in_flight -= 1;
        self.busy -= usize::from(self.lanes[lane].is_idle());
        Some((lane, tried))
    }

    /// Ends the wait of one that was to be overtaken. Its heap entry stays behind and means nothing any more.
    fn let_go(&mut self, lane: usize, seq: i64) {
        let held = &mut self.lanes[lane].held;
        if let Some(at) = held.iter().position(|held| held.seq == seq) {
            let item = held.swap_remove(at);
            self.ready(lane, item, true);
        }
    }

    /// Whether a heap entry is one that [`Queue::let_go`] left behind.
    fn overtaken_already(&mut self, item: Item) -> bool {
        item.held && self.overtaken.remove(&item.seq).is_some()
    }

    /// Forgets a lane in which nothing is left.
    fn retire(&mut self, lane: usize) {
        let it = &mut self.lanes[lane];
        let is_empty = it.is_idle() && it.waiting == 0 && it.held.is_empty() && !it.has_turn;
        if is_empty && let Some(url) = it.url.take() {
            self.by_url.remove(&url);
            self.unused.push(lane);
        }
    }
}

impl Lane {
    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(seq: i64) -> Item {
        Item { seq, tried: false, held: false }
    }

    fn filled(queue: &mut Queue, url: &str, seqs: impl IntoIterator<Item = i64>) {
        let url = Arc::from(url);
        seqs.into_iter().for_each(|seq| queue.push(&url, 0, item(seq)));
        queue.advance(0);
    }

    fn taken(queue: &mut Queue) -> Vec<i64> {
        std::iter::from_fn(|| queue.take()).map(|item| item.seq).collect()
    }

    #[test]
    fn a_receiver_with_a_million_leaves_room_for_the_next() {
        let mut queue = Queue::default();
        filled(&mut queue, "slow", 0..1000);
        assert_eq!(taken(&mut queue).len(), IN_FLIGHT / 2);
        filled(&mut queue, "quick", 1000..1002);
        assert_eq!(taken(&mut queue), [1000, 1001]);
        filled(&mut queue, "third", [2000]);
        assert_eq!(taken(&mut queue), [2000]);
        // The slow one goes on when its own come back, within its share.
        (0..32).for_each(|seq| queue.finished(seq, None));
        assert_eq!(taken(&mut queue).len(), 16);
    }

    #[test]
    fn receivers_take_turns() {
        let mut queue = Queue::default();
        filled(&mut queue, "a", [1, 2, 3]);
        filled(&mut queue, "b", [11, 12]);
        filled(&mut queue, "c", [21]);
        assert_eq!(taken(&mut queue), [1, 11, 21, 2, 12, 3]);
    }

    #[test]
    fn no_more_than_the_limit_are_in_flight_however_many_receivers_there_are() {
        let mut queue = Queue::default();
        (0..500).for_each(|seq| filled(&mut queue, &format!("lane {seq}"), [seq]));
        assert_eq!(taken(&mut queue).len(), IN_FLIGHT);
        queue.finished(0, None);
        assert_eq!(taken(&mut queue), [64]);
    }

    #[test]
    fn what_waits_comes_when_it_is_due_and_a_change_of_speed_moves_it() {
        let mut queue = Queue::default();
        let url = Arc::from("a");
        queue.push(&url, 1000, Item { tried: true, ..item(1) });
        queue.push(&url, 500, item(2));
        assert_eq!((queue.next_due(), queue.retrying()), (Some(500), 1));
        queue.advance(500);
        assert_eq!(taken(&mut queue), [2]);
        queue.stretch(500, 0.1);
        assert_eq!(queue.next_due(), Some(550));
        queue.advance(550);
        assert_eq!((taken(&mut queue), queue.retrying(), queue.in_flight()), (vec![1], 0, 2));
        queue.finished(1, Some(2000));
        queue.finished(2, None);
        assert_eq!((queue.next_due(), queue.retrying(), queue.in_flight()), (Some(2000), 1, 0));
    }

    #[test]
    fn one_that_is_held_back_is_sent_after_later_ones_or_when_its_time_is_up() {
        let mut queue = Queue::default();
        filled(&mut queue, "a", [1, 2, 3]);
        let first = queue.take().unwrap();
        queue.hold_until_overtaken(first, 2, 1000);
        assert_eq!(taken(&mut queue), [2, 3]);
        queue.finished(2, None);
        assert_eq!(taken(&mut queue), [0; 0]);
        queue.finished(3, None);
        assert_eq!(taken(&mut queue), [1]);
        queue.finished(1, None);
        // The entry that is left behind sends nothing a second time.
        queue.advance(1000);
        assert_eq!((taken(&mut queue), queue.next_due()), (vec![], None));

        filled(&mut queue, "a", [4]);
        let alone = queue.take().unwrap();
        queue.hold_until_overtaken(alone, 1, 2000);
        queue.advance(1999);
        assert_eq!(taken(&mut queue), [0; 0]);
        queue.advance(2000);
        assert_eq!(taken(&mut queue), [4]);
        queue.finished(4, None);
        assert!(queue.by_url.is_empty() && queue.overtaken.is_empty() && queue.busy == 0);
    }

    #[test]
    fn lanes_that_are_done_are_forgotten() {
        let mut queue = Queue::default();
        for round in 0..100 {
            filled(&mut queue, &format!("lane {round}"), [round]);
            assert_eq!(taken(&mut queue), [round]);
            queue.finished(round, None);
        }
        assert_eq!((queue.lanes.len(), queue.by_url.len(), queue.busy), (1, 0, 0));
    }
}
