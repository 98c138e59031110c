//! Compiled grammars by their source, few enough and short enough.

use std::collections::HashMap;

/// Keeps the most recently used.
pub(super) struct Cache<T> {
    entries: HashMap<String, (T, u64)>,
    /// Most entries: what is compiled can be much larger than its source.
    most: usize,
    /// Most bytes of sources.
    budget: usize,
    bytes: usize,
    clock: u64,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(most: usize, budget: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            budget,
            bytes: 0,
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, source: &str) -> Option<T> {
        self.clock += 1;
        let (grammar, used) = self.entries.get_mut(source)?;
        *used = self.clock;
        Some(grammar.clone())
    }

    pub(super) fn insert(&mut self, source: String, grammar: T) {
        self.clock += 1;
        self.bytes += source.len();
        let length = source.len();
        if self.entries.insert(source, (grammar, self.clock)).is_some() {
            self.bytes -= length;
        }
        while self.bytes > self.budget || self.entries.len() > self.most {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
            let Some(source) = oldest.map(|(source, _)| source.clone()) else {
                break;
            };
            self.bytes -= source.len();
            self.entries.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_sources_are_bounded_by_number_and_long_ones_by_bytes() {
        let mut cache = Cache::new(3, 10);
        for number in 0..5 {
            cache.insert(number.to_string(), number);
        }
        let known = |cache: &mut Cache<i32>| -> Vec<i32> {
            let sources = (0..5).map(|number: i32| number.to_string());
            sources.filter_map(|source| cache.get(&source)).collect()
        };
        assert_eq!(known(&mut cache), [2, 3, 4]);
        assert_eq!(cache.get("2"), Some(2));
        cache.insert("eight by".to_owned(), 8);
        assert_eq!(known(&mut cache), [2, 4], "the least recently used went");
        assert_eq!(cache.bytes, 10);
        cache.insert("eight by".to_owned(), 9);
        assert_eq!(cache.get("eight by"), Some(9));
        assert_eq!(cache.bytes, 10, "what comes twice counts once");
    }
}
