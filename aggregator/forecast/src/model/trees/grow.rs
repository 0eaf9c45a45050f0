//! One tree: the leaf that gains most is split first, from histograms of gradients.

use super::bins::{BINS, MISSING, Rows};
use super::boost::Growth;

/// A split has to gain more than this, relative to the leaf's rows: rounding is no gain.
const LEAST_GAIN: f64 = 1e-6;

#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    feature: u16,
    /// Rows up to this bin go left.
    bin: u8,
    missing_left: bool,
    /// Index of the left child, the right one follows; 0 marks a leaf.
    left: u32,
    pub value: f64,
}

/// The value of the leaf that a binned row falls into.
pub(super) fn value_of(nodes: &[Node], row: &[u8]) -> f64 {
    let mut node = &nodes[0];
    while node.left != 0 {
        let bin = row[node.feature as usize];
        let left = if bin == MISSING { node.missing_left } else { bin <= node.bin };
        node = &nodes[node.left as usize + usize::from(!left)];
    }
    node.value
}

/// Sum of gradients, and rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
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
pub(super) struct Leaf {
    pub node: usize,
    pub from: usize,
    pub to: usize,
    /// Which histogram is its own.
    histogram: usize,
    best: Option<Split>,
}

/// Grows one tree; `order` is left with the rows of each leaf side by side.
pub(super) fn grow(
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
    let whole = histogram[..BINS]
        .iter()
        .fold((0.0, 0.0), |sum, cell| (sum.0 + f64::from(cell.gradient), sum.1 + f64::from(cell.count)));
    let floor = worth(whole.0, whole.1.max(1.0)) + LEAST_GAIN * whole.1;
    let mut most = floor;
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
                    // Both worths over a common denominator: divided only where larger than any before.
                    let worths = left.0 * left.0 * right.1 + right.0 * right.0 * left.1;
                    let counts = left.1 * right.1;
                    if worths > most * counts {
                        most = worths / counts;
                        best = Some(Split { gain: most, feature, bin: bin as u8, missing_left });
                    }
                }
            }
        }
    }
    // Gains of different leaves are compared: what counts is what a split adds.
    best.map(|split| Split { gain: split.gain - floor, ..split })
}
