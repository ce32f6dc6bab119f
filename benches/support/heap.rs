//! A table's rows in the order in which PostgreSQL keeps them: an update writes the row's new version
//! into room that an earlier day's vacuum found free, or else at the table's end. So a day's updates,
//! though each is small, take rows out everywhere and put them in elsewhere.

/// One row: its id and how often it was changed.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its id, from 1; 0 for an empty place.
    pub id: u32,
    /// Changes since it was made.
    pub version: u32,
}

/// A table.
#[derive(Clone, Debug)]
pub struct Heap {
    places: Vec<Row>,
    /// Empty places that may be written to, the lowest last.
    free: Vec<u32>,
    rows: u32,
    /// Rows of a thousand that change in a day.
    changes: u64,
    /// Rows of a thousand that a day adds.
    added: u64,
}

impl Heap {
    /// A table of `rows` rows as they were made.
    pub fn new(rows: u64, changes: u64, added: u64) -> Self {
        let rows = u32::try_from(rows).unwrap_or(u32::MAX - 1);
        let places = (1..=rows).map(|id| Row { id, version: 0 }).collect();
        Heap { places, free: Vec::new(), rows, changes, added }
    }

    /// A day of business: which rows change, and in which order, is `random` of their ids.
    pub fn day(&mut self, random: impl Fn(u64) -> u64) {
        let places = (0..self.places.len()).filter(|&at| {
            let id = self.places[at].id;
            id > 0 && random(id.into()) % 1000 < self.changes
        });
        let mut emptied: Vec<u32> = places.map(|at| at as u32).collect();
        emptied.sort_by_cached_key(|&at| random(self.places[at as usize].id.into()));
        for &at in &emptied {
            let row = self.places[at as usize];
            self.places[at as usize].id = 0;
            self.put(Row { version: row.version + 1, ..row });
        }
        for _ in 0..u64::from(self.rows) * self.added / 1000 {
            self.rows += 1;
            self.put(Row { id: self.rows, version: 0 });
        }
        // Vacuum comes at night: what was emptied today is written to tomorrow.
        self.free.extend(emptied);
        self.free.sort_unstable_by(|a, b| b.cmp(a));
    }

    fn put(&mut self, row: Row) {
        match self.free.pop() {
            Some(place) => self.places[place as usize] = row,
            None => self.places.push(row),
        }
    }

    /// The rows in the order of a dump.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.places.iter().filter(|row| row.id > 0).copied()
    }
}
