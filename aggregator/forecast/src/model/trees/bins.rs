//! Features in bins, so that a split is looked for among a few sums instead of all values.

/// Bins of a feature, the one for missing values among them.
pub(super) const BINS: usize = 32;
/// The bin of what is missing.
pub(super) const MISSING: u8 = 0;
/// Where the features are cut: learned once, used for every row after.
#[derive(Debug)]
pub(super) struct Cuts {
    edges: Vec<Vec<f64>>,
}

impl Cuts {
    /// Cuts between values, so that each bin holds about as many rows as the next. Rows lie one after the other.
    pub fn learn(values: &[f64], width: usize) -> Self {
        let edges = (0..width)
            .map(|feature| {
                let column = values.iter().skip(feature).step_by(width.max(1)).copied();
                let mut sorted: Vec<f64> = column.filter(|value| value.is_finite()).collect();
                sorted.sort_unstable_by(f64::total_cmp);
                let places = BINS - 2;
                let mut edges: Vec<f64> = Vec::with_capacity(places);
                // With few distinct values each gets its own bin.
                let mut distinct = sorted.clone();
                distinct.dedup();
                let from = if distinct.len() <= places { &distinct } else { &sorted };
                let parts = from.len().min(places + 1);
                for part in 1..parts {
                    let index = part * from.len() / parts;
                    let (below, above) = (from[index - 1], from[index]);
                    let edge = below + (above - below) / 2.0;
                    if below < above && edges.last().is_none_or(|last| *last < edge) {
                        edges.push(edge);
                    }
                }
                edges
            })
            .collect();
        Self { edges }
    }

    /// Appends the bins of one row.
    pub fn bin(&self, row: &[f64], into: &mut Vec<u8>) {
        into.extend(row.iter().zip(&self.edges).map(|(value, edges)| {
            if value.is_finite() { 1 + edges.partition_point(|edge| edge < value) as u8 } else { MISSING }
        }));
    }
}

/// Binned rows and what they should say.
#[derive(Debug)]
pub(super) struct Rows {
    pub width: usize,
    /// Row by row.
    pub bins: Vec<u8>,
    pub targets: Vec<f64>,
    /// The target is a lower bound.
    pub censored: Vec<bool>,
}

impl Rows {
    /// The bins of row `index`.
    pub fn row(&self, index: usize) -> &[u8] {
        &self.bins[index * self.width..(index + 1) * self.width]
    }
}
