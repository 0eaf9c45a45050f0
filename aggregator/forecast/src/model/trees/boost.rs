//! Boosted regression trees for one quantile: histograms of binned features, best leaf first, quantiles as leaf values.
//!
//! Friedman's gradient boosting (2001) for the pinball loss, grown as LightGBM grows it (Ke et al. 2017): every feature is
//! cut into at most [`BINS`] bins once, a leaf is split where the squared sums of gradients gain most, a sibling's histogram
//! is its parent's less the other child's, and a finished leaf takes the quantile of its residuals times the learning rate.
//! No randomness anywhere: equal gains are decided by the lower feature and bin.

/// Bins of a feature, the one for missing values among them.
pub(super) const BINS: usize = 32;
/// The bin of what is missing.
const MISSING: u8 = 0;
/// A split has to gain more than this, relative to the leaf's rows: rounding is no gain.
const LEAST_GAIN: f64 = 1e-6;

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
    fn row(&self, index: usize) -> &[u8] {
        &self.bins[index * self.width..(index + 1) * self.width]
    }
}

/// How to boost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    /// The quantile level.
    pub level: f64,
    pub trees: usize,
    /// Leaves of a tree.
    pub leaves: usize,
    /// Rows a leaf needs.
    pub least_rows: usize,
    /// Learning rate.
    pub rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    feature: u16,
    /// Rows up to this bin go left.
    bin: u8,
    missing_left: bool,
    /// Index of the left child, the right one follows; 0 marks a leaf.
    left: u32,
    value: f64,
}

/// A sum of trees.
#[derive(Debug)]
pub(super) struct Boosted {
    start: f64,
    trees: Vec<Vec<Node>>,
}

impl Boosted {
    /// Learns from the rows of `rows` listed in `of`.
    pub fn learn(rows: &Rows, of: &[u32], growth: &Growth) -> Self {
        let mut scratch = Vec::with_capacity(of.len());
        // Residuals of the listed rows only, by position in `rows`.
        let mut residuals = rows.targets.clone();
        scratch.extend(of.iter().map(|row| rows.targets[*row as usize]));
        let start = quantile(&mut scratch, growth.level).unwrap_or(0.0);
        residuals.iter_mut().for_each(|residual| *residual -= start);
        let mut trees = Vec::with_capacity(growth.trees);
        let mut order = of.to_vec();
        let mut gradients = vec![0.0_f32; residuals.len()];
        let mut histograms = Vec::new();
        for _ in 0..growth.trees {
            for row in &order {
                let row = *row as usize;
                gradients[row] = if residuals[row] > 0.0 {
                    growth.level as f32
                } else if rows.censored[row] {
                    // The truth may lie anywhere above: what is predicted is not known to be wrong.
                    0.0
                } else {
                    growth.level as f32 - 1.0
                };
            }
            let (mut nodes, leaves) = grow(rows, &gradients, &mut order, growth, &mut histograms);
            if leaves.len() < 2 {
                break;
            }
            for leaf in leaves {
                scratch.clear();
                // A lower bound beneath what is predicted says nothing.
                let tells = |row: &usize| residuals[*row] > 0.0 || !rows.censored[*row];
                let of_leaf = order[leaf.from..leaf.to].iter().map(|row| *row as usize);
                scratch.extend(of_leaf.filter(tells).map(|row| residuals[row]));
                let value = growth.rate * quantile(&mut scratch, growth.level).unwrap_or(0.0);
                nodes[leaf.node].value = value;
                for row in &order[leaf.from..leaf.to] {
                    residuals[*row as usize] -= value;
                }
            }
            trees.push(nodes);
        }
        Self { start, trees }
    }

    /// The quantile for one binned row.
    pub fn predict(&self, row: &[u8]) -> f64 {
        self.start + self.trees.iter().map(|nodes| value_of(nodes, row)).sum::<f64>()
    }

    /// The quantile for row `index` of `rows`.
    pub fn predict_row(&self, rows: &Rows, index: usize) -> f64 {
        self.predict(rows.row(index))
    }
}

fn value_of(nodes: &[Node], row: &[u8]) -> f64 {
    let mut node = &nodes[0];
    while node.left != 0 {
        let bin = row[node.feature as usize];
        let left = if bin == MISSING { node.missing_left } else { bin <= node.bin };
        node = &nodes[node.left as usize + usize::from(!left)];
    }
    node.value
}

/// The quantile at `level`, between values; `None` when there are none.
fn quantile(values: &mut [f64], level: f64) -> Option<f64> {
    if values.is_empty() {
        return None;
    }
    let place = level * (values.len() - 1) as f64;
    let (index, share) = (place.floor() as usize, place.fract());
    let (_, low, above) = values.select_nth_unstable_by(index, f64::total_cmp);
    let low = *low;
    if share <= 0.0 || above.is_empty() {
        return Some(low);
    }
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    Some(low + share * (high - low))
}

/// Sum of gradients, and rows.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    gradient: f32,
    count: f32,
}

#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    bin: u8,
    missing_left: bool,
}

/// A leaf while its tree grows: the rows `from..to` of the order.
#[derive(Debug)]
struct Leaf {
    node: usize,
    from: usize,
    to: usize,
    /// Which histogram is its own.
    histogram: usize,
    best: Option<Split>,
}

/// Grows one tree; `order` is left with the rows of each leaf side by side.
fn grow(
    rows: &Rows,
    gradients: &[f32],
    order: &mut [u32],
    growth: &Growth,
    histograms: &mut Vec<Vec<Cell>>,
) -> (Vec<Node>, Vec<Leaf>) {
    let size = rows.width * BINS;
    histograms.resize_with(growth.leaves.max(1), || vec![Cell::default(); size]);
    let leaf = Node { feature: 0, bin: 0, missing_left: true, left: 0, value: 0.0 };
    let mut nodes = vec![leaf];
    count(rows, gradients, order, &mut histograms[0]);
    let best = best_split(&histograms[0], rows.width, growth.least_rows);
    let mut leaves = vec![Leaf { node: 0, from: 0, to: order.len(), histogram: 0, best }];
    while leaves.len() < growth.leaves {
        let gain = |leaf: &Leaf| leaf.best.map_or(f64::NEG_INFINITY, |split| split.gain);
        let mut richest = 0;
        for index in 1..leaves.len() {
            if gain(&leaves[index]) > gain(&leaves[richest]) {
                richest = index;
            }
        }
        let Some(split) = leaves[richest].best else { break };
        let (from, to, parent) = (leaves[richest].from, leaves[richest].to, leaves[richest].histogram);
        let middle = from + partition(rows, &mut order[from..to], &split);
        let left = nodes.len();
        let split_node = &mut nodes[leaves[richest].node];
        split_node.feature = split.feature as u16;
        (split_node.bin, split_node.missing_left, split_node.left) = (split.bin, split.missing_left, left as u32);
        nodes.extend([leaf, leaf]);
        // Only the smaller child is counted; the parent's histogram becomes the larger one's by subtraction.
        let own = leaves.len();
        let left_smaller = middle - from <= to - middle;
        let smaller = if left_smaller { from..middle } else { middle..to };
        let (before, after) = histograms.split_at_mut(own);
        let (large, small) = (&mut before[parent], &mut after[0]);
        let last = own + 1 == growth.leaves;
        if !last {
            small.fill(Cell::default());
            count(rows, gradients, &order[smaller], small);
            for (large, small) in large.iter_mut().zip(small.iter()) {
                large.gradient -= small.gradient;
                large.count -= small.count;
            }
        }
        let (left_histogram, right_histogram) = if left_smaller { (own, parent) } else { (parent, own) };
        let find = |histogram: usize, rows_there: usize| {
            let worth = !last && rows_there >= 2 * growth.least_rows;
            if worth { best_split(&histograms[histogram], rows.width, growth.least_rows) } else { None }
        };
        let (left_best, right_best) = (find(left_histogram, middle - from), find(right_histogram, to - middle));
        leaves[richest] = Leaf { node: left, from, to: middle, histogram: left_histogram, best: left_best };
        leaves.push(Leaf { node: left + 1, from: middle, to, histogram: right_histogram, best: right_best });
    }
    histograms[0].fill(Cell::default());
    (nodes, leaves)
}

fn count(rows: &Rows, gradients: &[f32], of: &[u32], histogram: &mut [Cell]) {
    for index in of {
        let gradient = gradients[*index as usize];
        for (bin, cells) in rows.row(*index as usize).iter().zip(histogram.chunks_exact_mut(BINS)) {
            let cell = &mut cells[*bin as usize % BINS];
            cell.gradient += gradient;
            cell.count += 1.0;
        }
    }
}

/// Moves the rows that go left to the front, in order, and says how many they are.
fn partition(rows: &Rows, order: &mut [u32], split: &Split) -> usize {
    let goes_left = |row: u32| {
        let bin = rows.row(row as usize)[split.feature];
        if bin == MISSING { split.missing_left } else { bin <= split.bin }
    };
    let mut right = Vec::with_capacity(order.len());
    let mut left = 0;
    for index in 0..order.len() {
        let row = order[index];
        if goes_left(row) {
            order[left] = row;
            left += 1;
        } else {
            right.push(row);
        }
    }
    order[left..].copy_from_slice(&right);
    left
}

fn best_split(histogram: &[Cell], width: usize, least_rows: usize) -> Option<Split> {
    let least = least_rows.max(1) as f64;
    let worth = |gradient: f64, count: f64| gradient * gradient / count;
    let mut best: Option<Split> = None;
    let whole = histogram[..BINS].iter().fold((0.0, 0.0), |sum, cell| {
        (sum.0 + f64::from(cell.gradient), sum.1 + f64::from(cell.count))
    });
    let floor = worth(whole.0, whole.1.max(1.0)) + LEAST_GAIN * whole.1;
    for feature in 0..width {
        let cells = &histogram[feature * BINS..(feature + 1) * BINS];
        let missing = (f64::from(cells[0].gradient), f64::from(cells[0].count));
        for missing_left in [true, false] {
            if !missing_left && missing.1 <= 0.0 {
                break;
            }
            let mut left = if missing_left { missing } else { (0.0, 0.0) };
            for (bin, cell) in cells.iter().enumerate().skip(1) {
                if cell.count <= 0.0 {
                    continue;
                }
                left.0 += f64::from(cell.gradient);
                left.1 += f64::from(cell.count);
                let right = (whole.0 - left.0, whole.1 - left.1);
                if right.1 < least {
                    break;
                }
                if left.1 >= least {
                    let gain = worth(left.0, left.1) + worth(right.0, right.1);
                    if gain > best.map_or(floor, |split| split.gain) {
                        best = Some(Split { gain, feature, bin: bin as u8, missing_left });
                    }
                }
            }
        }
    }
    // Gains of different leaves are compared: what counts is what a split adds.
    best.map(|split| Split { gain: split.gain - floor, ..split })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantile::pinball;

    fn rows(features: &[Vec<f64>], targets: Vec<f64>) -> (Cuts, Rows) {
        let width = features[0].len();
        let cuts = Cuts::learn(&features.concat(), width);
        let mut bins = Vec::new();
        features.iter().for_each(|row| cuts.bin(row, &mut bins));
        let censored = vec![false; targets.len()];
        (cuts, Rows { width, bins, targets, censored })
    }

    fn everything(rows: &Rows) -> Vec<u32> {
        (0..rows.targets.len() as u32).collect()
    }

    const GROWTH: Growth = Growth { level: 0.5, trees: 60, leaves: 8, least_rows: 5, rate: 0.2 };

    fn said(cuts: &Cuts, boosted: &Boosted, row: &[f64]) -> f64 {
        let mut bins = Vec::new();
        cuts.bin(row, &mut bins);
        boosted.predict(&bins)
    }

    #[test]
    fn a_step_is_found_where_it_is_and_what_is_missing_goes_where_it_belongs() {
        let features: Vec<Vec<f64>> = (0..200)
            .map(|i| vec![f64::from(i * 37 % 101), if i % 5 == 0 { f64::NAN } else { f64::from(i) }])
            .collect();
        let truth = |row: &[f64]| if row[1].is_nan() { 7.0 } else if row[1] > 120.5 { 3.0 } else { -1.0 };
        // Without noise the sign of a residual is all the trees would see of rows on the same side.
        let noisy = |(at, row): (usize, &Vec<f64>)| truth(row) + (at * 31 % 21) as f64 * 0.02 - 0.2;
        let (cuts, rows) = rows(&features, features.iter().enumerate().map(noisy).collect());
        let made = Boosted::learn(&rows, &everything(&rows), &GROWTH);
        // As near to the step as bins are fine.
        for row in [[0.0, 2.0], [50.0, 113.0], [3.0, 128.0], [90.0, 1e9], [10.0, f64::NAN]] {
            let value = said(&cuts, &made, &row);
            assert!((value - truth(&row)).abs() < 0.2, "{row:?}: {value}");
        }
    }

    #[test]
    fn one_wild_target_does_not_move_the_others() {
        let features: Vec<Vec<f64>> = (0..200).map(|i| vec![f64::from(i)]).collect();
        let mut targets: Vec<f64> = (0..200).map(|i| f64::from(i / 50)).collect();
        targets[80] = 1e12;
        let (cuts, rows) = rows(&features, targets);
        let made = Boosted::learn(&rows, &everything(&rows), &GROWTH);
        for at in [10.0, 79.0, 81.0, 120.0, 180.0] {
            let value = said(&cuts, &made, &[at]);
            assert!((value - (at / 50.0).floor()).abs() < 0.1, "{at}: {value}");
        }
    }

    #[test]
    fn lower_bounds_lift_and_never_hold_down() {
        let features: Vec<Vec<f64>> = (0..300).map(|i| vec![f64::from(i % 3)]).collect();
        let targets: Vec<f64> = (0..300).map(|i| f64::from(i * 7 % 20)).collect();
        let (cuts, mut rows) = rows(&features, targets);
        let plain = Boosted::learn(&rows, &everything(&rows), &GROWTH);
        for index in 0..300 {
            rows.censored[index] = index % 3 == 1 && (4.0..9.0).contains(&rows.targets[index]);
        }
        let bounded = Boosted::learn(&rows, &everything(&rows), &GROWTH);
        let (before, after) = (said(&cuts, &plain, &[1.0]), said(&cuts, &bounded, &[1.0]));
        assert!(after > before + 1.0, "{before} {after}");
        assert!((said(&cuts, &plain, &[0.0]) - said(&cuts, &bounded, &[0.0])).abs() < 0.5);
    }

    #[test]
    fn nothing_to_split_is_the_plain_quantile() {
        for targets in [vec![4.0; 30], (0..30).map(f64::from).collect()] {
            let (cuts, rows) = rows(&vec![vec![1.0]; 30], targets);
            let made = Boosted::learn(&rows, &everything(&rows), &Growth { level: 0.9, ..GROWTH });
            let mut plain = rows.targets.clone();
            assert_eq!(Some(said(&cuts, &made, &[5.0])), quantile(&mut plain, 0.9));
        }
        let (_, rows) = rows(&[vec![1.0]], vec![2.0]);
        assert_eq!(Boosted::learn(&rows, &[], &GROWTH).predict(&[1]), 0.0);
    }

    /// The data of tests/oracles/trees.py, drawn by the same rule.
    fn oracle_data(rows: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut state = 42_u64;
        let mut draw = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        (0..rows)
            .map(|_| {
                let mut x: Vec<f64> = (0..5).map(|_| draw()).collect();
                let noise = draw() + draw() + draw() - 1.5;
                let target =
                    (6.0 * x[0]).sin() + if x[1] > 0.6 { 2.0 * x[2] } else { 0.0 } + (0.2 + 1.6 * x[3]) * noise;
                if draw() < 0.1 {
                    x[2] = f64::NAN;
                }
                (x, target)
            })
            .unzip()
    }

    #[test]
    fn loses_no_more_than_lightgbm_with_as_many_trees_and_leaves() {
        let oracle: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/oracles/trees.json")).unwrap();
        let number = |value: &serde_json::Value, key: &str| value[key].as_f64().unwrap_or_else(|| panic!("{key}"));
        let count = |key: &str| number(&oracle, key) as usize;
        let train = count("train");
        let (features, targets) = oracle_data(count("rows"));
        for (own, theirs) in features[0].iter().chain([&targets[0]]).zip(oracle["first"].as_array().unwrap()) {
            assert!((own - theirs.as_f64().unwrap()).abs() < 1e-9, "not the same data: {own} {theirs}");
        }
        let (cuts, rows) = rows(&features[..train], targets[..train].to_vec());
        for losses in oracle["losses"].as_array().unwrap() {
            let level = number(losses, "level");
            let growth = Growth {
                level,
                trees: count("trees"),
                leaves: count("leaves"),
                least_rows: count("least_rows"),
                rate: number(&oracle, "rate"),
            };
            let made = Boosted::learn(&rows, &everything(&rows), &growth);
            let loss = |range: std::ops::Range<usize>| {
                let count = range.len() as f64;
                range.map(|at| pinball(level, said(&cuts, &made, &features[at]), targets[at])).sum::<f64>() / count
            };
            let (learned, unseen) = (loss(0..train), loss(train..targets.len()));
            // Cuts and tied gains differ a little, so the trees do; what they lose does not.
            assert!((learned / number(losses, "train") - 1.0).abs() < 0.04, "{level}: {learned} {losses}");
            assert!((unseen / number(losses, "test") - 1.0).abs() < 0.04, "{level}: {unseen} {losses}");
        }
    }
}
