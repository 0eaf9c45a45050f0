//! Which zone a share of a launch was asked for last. A share that one zone does not have is asked for in the next, under another
//! token: repeated from the first one, after a crash, it could be launched there as well. So each turn is written down before it
//! is asked for, and a repeat begins with the one that is written.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::fleet::Token;

/// Keeps turns by launch and share; an error is in words, and nothing was kept.
#[async_trait]
pub trait Turns: fmt::Debug + Send + Sync {
    /// The turn that was kept last; 0, the share's own zone, where none was.
    async fn turn(&self, token: &Token, share: usize) -> Result<usize, String>;

    /// Durable on return.
    async fn keep(&self, token: &Token, share: usize, turn: usize) -> Result<(), String>;
}

/// As long as the process lives: for a fleet that launches nobody.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<BTreeMap<(Token, usize), usize>>);

#[async_trait]
impl Turns for InMemory {
    async fn turn(&self, token: &Token, share: usize) -> Result<usize, String> {
        let turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(turns.get(&(token.clone(), share)).copied().unwrap_or_default())
    }

    async fn keep(&self, token: &Token, share: usize, turn: usize) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((token.clone(), share), turn);
        Ok(())
    }
}
