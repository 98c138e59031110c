//! Compiled grammars by their source, under a byte budget.

use std::collections::HashMap;

use super::Grammar;

/// Keeps the most recently used.
pub(super) struct Cache {
    entries: HashMap<String, (Grammar, u64)>,
    budget: usize,
    bytes: usize,
    clock: u64,
}

impl Cache {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            entries: HashMap::new(),
            budget,
            bytes: 0,
            clock: 0,
        }
    }

    pub(super) fn get(&mut self, source: &str) -> Option<Grammar> {
        self.clock += 1;
        let (grammar, used) = self.entries.get_mut(source)?;
        *used = self.clock;
        Some(grammar.clone())
    }

    pub(super) fn insert(&mut self, source: String, grammar: Grammar) {
        self.clock += 1;
        self.bytes += source.len();
        let length = source.len();
        if self.entries.insert(source, (grammar, self.clock)).is_some() {
            self.bytes -= length;
        }
        while self.bytes > self.budget {
            let oldest = self.entries.iter().min_by_key(|(_, (_, used))| *used);
            let Some(source) = oldest.map(|(source, _)| source.clone()) else {
                break;
            };
            self.bytes -= source.len();
            self.entries.remove(&source);
        }
    }
}
