//! The physics of a backtest: what an instance carries, how long it takes, what it costs.

/// What the simulated group is like. Shares are in [0, 1], times in seconds.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Setting {
    /// Instances that the highest scored load needs at the target.
    pub peak: f64,
    /// Load that one instance serves at 100 %, in the history's unit; instead of `peak`.
    pub capacity: Option<f64>,
    /// Utilisation of an instance that does nothing.
    pub idle: f64,
    /// Utilisation that is aimed at.
    pub target: f64,
    /// Utilisation above which a minute counts as above target.
    pub score_target: f64,
    /// Launch call to serving.
    pub startup: u32,
    /// Re-attach call to serving.
    pub reattach: u32,
    /// How long requests in flight keep an instance that was taken away.
    pub drain: u32,
    pub minimum: u32,
    pub maximum: u32,
    /// Newest share of the history that is scored, and most days of it.
    pub share: f64,
    pub days: f64,
    /// Price of an instance for an hour.
    pub price: f64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            peak: 50.0,
            capacity: None,
            idle: 0.08,
            target: 0.60,
            score_target: 0.60,
            startup: 300,
            reattach: 60,
            drain: 300,
            minimum: 1,
            maximum: 200,
            share: 0.3,
            days: 10.0,
            price: 0.10,
        }
    }
}

impl Setting {
    /// Load that one instance carries at the target, when it carries 1 at 100 %.
    pub fn per_target(&self) -> f64 {
        (self.target - self.idle) / (1.0 - self.idle)
    }

    /// What turns the history's unit into instances at 100 %.
    pub fn scale(&self, highest: f64) -> f64 {
        match self.capacity {
            Some(capacity) => 1.0 / capacity,
            None if highest > 0.0 => self.peak * self.per_target() / highest,
            None => 1.0,
        }
    }
}
