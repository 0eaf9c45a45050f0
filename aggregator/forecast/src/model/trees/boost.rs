//! Boosted regression trees for one quantile: histograms of binned features, best leaf first, quantiles as leaf values.
//!
//! Friedman's gradient boosting (2001) for the pinball loss, grown as LightGBM grows it (Ke et al. 2017): every feature is
//! cut into a few bins once, a leaf is split where the squared sums of gradients gain most, a sibling's histogram is its
//! parent's less the other child's, and a finished leaf takes the quantile of its residuals times the learning rate.
//! No randomness anywhere: equal gains are decided by the lower feature and bin.

use super::bins::Rows;
use super::grow::{Node, grow, value_of};

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

#[cfg(test)]
mod tests {
    use super::super::bins::Cuts;
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
        let features: Vec<Vec<f64>> =
            (0..200).map(|i| vec![f64::from(i * 37 % 101), if i % 5 == 0 { f64::NAN } else { f64::from(i) }]).collect();
        let truth = |row: &[f64]| {
            if row[1].is_nan() {
                7.0
            } else if row[1] > 120.5 {
                3.0
            } else {
                -1.0
            }
        };
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
