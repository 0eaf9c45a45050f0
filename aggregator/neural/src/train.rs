//! Training: Adam on the pinball loss, early stopping on held-out windows, checkpoints.
//!
//! The same data, options and seed give the same network to the bit on the same kind of processor, whatever the number of threads and
//! however often it was interrupted and resumed. (Matrix products choose their instructions by the processor, and
//! so round differently on another.)

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::contract::Contract;
use crate::dataset::{Dataset, Origin};
use crate::lstm::{Pass, Shape, losses};

/// Rows that are computed together; a batch is made of as many of these as it takes. Part of the result: sums are made shard by shard.
const SHARD: usize = 32;
/// Gradients longer than this (root of the mean square, times 100) are shortened: one wild window moves a step only so far.
const LONGEST_GRADIENT: f64 = 1.0;
/// Adam's own constants (Kingma and Ba 2015).
const BETAS: (f32, f32) = (0.9, 0.999);
const EPSILON: f32 = 1e-8;

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Decides the first parameters and the order of windows.
    pub seed: u64,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Windows per step of the optimiser.
    pub batch: usize,
    /// Most epochs.
    pub epochs: usize,
    /// Ends after this many epochs without a better held-out score.
    pub patience: usize,
    /// Most windows per epoch.
    pub windows: usize,
    /// Step width at first; it falls along half a cosine to a hundredth at the last epoch.
    pub rate: f64,
    /// Threads, at most as many as a batch has shards of 32.
    #[serde(skip, default = "one")]
    pub threads: usize,
}

fn one() -> usize {
    1
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 1, hidden: 64, batch: 64, epochs: 30, patience: 6, windows: 20_000, rate: 3e-3, threads: 1 }
    }
}

/// Where training stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The epoch that runs, from 0.
    pub epoch: usize,
    /// Most epochs.
    pub epochs: usize,
    /// Windows learned from in this epoch.
    pub done: usize,
    /// Windows of this epoch.
    pub of: usize,
    /// Mean pinball loss on them so far.
    pub loss: f64,
    /// Best held-out score so far.
    pub best: Option<f64>,
    /// True once per epoch, when its held-out score is known and a checkpoint is worth writing.
    pub epoch_ended: bool,
}

/// Why a checkpoint cannot be resumed, or nothing can be trained.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// Sizes.
    #[error("{0}")]
    Shape(String),
    /// There is nothing to learn from or nothing to judge by.
    #[error("{0}")]
    TooLittle(String),
    /// The checkpoint is not one, or belongs to other options.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The loss became infinite.
    #[error("training went astray in epoch {epoch}: the loss is not finite; try a smaller rate")]
    Astray {
        /// Which epoch.
        epoch: usize,
    },
}

/// A training under way.
#[derive(Debug)]
pub struct Trainer {
    shape: Shape,
    options: Options,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 2],
    best: Vec<f32>,
    state: State,
}

/// The part of a checkpoint that is text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    contract: Contract,
    options: Options,
    epoch: usize,
    steps: u64,
    best_score: Option<f64>,
    without_better: usize,
    ended: bool,
}

/// First line of a checkpoint.
const MAGIC: &str = "foreshadow training 1\n";

impl Trainer {
    /// Before the first step.
    ///
    /// # Errors
    /// [`TrainError::Shape`] when the sizes make no sense.
    pub fn new(contract: Contract, options: Options) -> Result<Self, TrainError> {
        if options.batch == 0 || options.windows == 0 || !(options.rate > 0.0 && options.rate <= 1.0) {
            return Err(TrainError::Shape("batch and windows must be at least 1, rate within (0, 1]".to_owned()));
        }
        let shape = Shape::new(contract.clone(), options.hidden).map_err(TrainError::Shape)?;
        let parameters = shape.initial(options.seed);
        let moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
        let state = State {
            contract,
            options: options.clone(),
            epoch: 0,
            steps: 0,
            best_score: None,
            without_better: 0,
            ended: false,
        };
        Ok(Self { shape, options, best: parameters.clone(), parameters, moments, state })
    }

    /// Goes on from a checkpoint; `options` must be those it was begun with (threads may differ).
    ///
    /// # Errors
    /// [`TrainError::Checkpoint`] says what is wrong with it.
    pub fn resume(bytes: &[u8], contract: &Contract, options: Options) -> Result<Self, TrainError> {
        let wrong = |what: &str| TrainError::Checkpoint(what.to_owned());
        let rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or_else(|| wrong("not a training of this program"))?;
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or_else(|| wrong("it is cut off"))?;
        let state: State = serde_json::from_slice(&rest[..end]).map_err(|error| wrong(&error.to_string()))?;
        let same = Options { threads: options.threads, ..state.options };
        if same != options || state.contract != *contract {
            return Err(wrong("it was begun with other options; give the same ones, or begin anew without it"));
        }
        let fresh = Self::new(state.contract.clone(), options)?;
        let count = fresh.parameters.len();
        let numbers: Vec<f32> =
            rest[end + 1..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        if rest[end + 1..].len() != 16 * count || numbers.iter().any(|number| !number.is_finite()) {
            return Err(wrong("it is cut off or damaged"));
        }
        let mut parts = numbers.chunks_exact(count).map(<[f32]>::to_vec);
        let mut next = || parts.next().unwrap_or_default();
        Ok(Self { parameters: next(), moments: [next(), next()], best: next(), state, ..fresh })
    }

    /// Everything needed to go on from the last whole epoch.
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut bytes = MAGIC.as_bytes().to_vec();
        bytes.extend(serde_json::to_vec(&self.state).unwrap_or_default());
        bytes.push(b'\n');
        for numbers in [&self.parameters, &self.moments[0], &self.moments[1], &self.best] {
            bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
        bytes
    }

    /// The network's sizes.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The parameters with the best held-out score.
    pub fn best(&self) -> &[f32] {
        &self.best
    }

    /// The best held-out score: mean pinball loss in scaled units.
    pub fn best_score(&self) -> Option<f64> {
        self.state.best_score
    }

    /// Whole epochs that were learned.
    pub fn epochs(&self) -> usize {
        self.state.epoch
    }

    /// Trains to the end. `watch` is told after every batch and every epoch, with the trainer to take a checkpoint from; `Break` ends the
    /// training with the best network so far.
    ///
    /// # Errors
    /// [`TrainError`] when there is nothing to learn from or to judge by, or the loss becomes infinite.
    pub fn run(
        &mut self,
        data: &Dataset,
        watch: &mut dyn FnMut(&Progress, &Self) -> ControlFlow<()>,
    ) -> Result<(), TrainError> {
        let held = data.held();
        if data.epoch(0, 0, 1).is_empty() || held.is_empty() {
            let (series, train, held) = data.counts();
            return Err(TrainError::TooLittle(format!(
                "{series} usable series give {train} windows to learn from and {held} held out: more or longer history is needed"
            )));
        }
        let mut passes: Vec<Pass<f32>> = Vec::new();
        if self.state.best_score.is_none() {
            self.state.best_score = Some(self.score(data, &held, &mut passes));
        }
        while self.state.epoch < self.options.epochs && !self.state.ended {
            let origins = data.epoch(self.options.seed, self.state.epoch, self.options.windows);
            let before = (self.parameters.clone(), self.moments.clone(), self.state.steps);
            let (mut sum, mut count) = (0.0, 0);
            let mut progress = Progress {
                epoch: self.state.epoch,
                epochs: self.options.epochs,
                done: 0,
                of: origins.len(),
                loss: 0.0,
                best: self.state.best_score,
                epoch_ended: false,
            };
            for batch in origins.chunks(self.options.batch) {
                let (part, of) = self.learn(data, batch, &mut passes);
                sum += part;
                count += of;
                progress.done += batch.len();
                progress.loss = sum / count.max(1) as f64;
                if !progress.loss.is_finite() {
                    return Err(TrainError::Astray { epoch: self.state.epoch });
                }
                if watch(&progress, self).is_break() {
                    // Half an epoch may still be the best there is.
                    self.judge(data, &held, &mut passes);
                    (self.parameters, self.moments, self.state.steps) = before;
                    return Ok(());
                }
            }
            self.state.epoch += 1;
            if self.judge(data, &held, &mut passes) {
                self.state.without_better = 0;
            } else {
                self.state.without_better += 1;
                self.state.ended = self.state.without_better >= self.options.patience;
            }
            progress.epoch_ended = true;
            progress.best = self.state.best_score;
            if watch(&progress, self).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Keeps the parameters if they are the best so far.
    fn judge(&mut self, data: &Dataset, held: &[Origin], passes: &mut Vec<Pass<f32>>) -> bool {
        let score = self.score(data, held, passes);
        let better = self.state.best_score.is_none_or(|best| score < best);
        if better {
            self.state.best_score = Some(score);
            self.best.clone_from(&self.parameters);
        }
        better
    }

    fn score(&self, data: &Dataset, origins: &[Origin], passes: &mut Vec<Pass<f32>>) -> f64 {
        let (mut sum, mut count) = (0.0, 0);
        let (shape, parameters) = (&self.shape, &self.parameters);
        for batch in origins.chunks(SHARD * self.options.threads.max(1)) {
            let parts = in_shards(batch, self.options.threads, passes, |shard, pass| {
                let batch = data.batch(shard);
                let answers = pass.forward(shape, parameters, &batch);
                losses(shape, answers, &batch)
            });
            for (part, of) in parts {
                sum += part;
                count += of;
            }
        }
        sum / count.max(1) as f64
    }

    fn learn(&mut self, data: &Dataset, origins: &[Origin], passes: &mut Vec<Pass<f32>>) -> (f64, usize) {
        let (shape, parameters) = (&self.shape, &self.parameters);
        let parts = in_shards(origins, self.options.threads, passes, |shard, pass| {
            let batch = data.batch(shard);
            let mut gradient = vec![0.0_f32; parameters.len()];
            pass.forward(shape, parameters, &batch);
            let loss = pass.backward(shape, parameters, &batch, &mut gradient);
            (loss, gradient)
        });
        let (mut sum, mut count) = (0.0, 0);
        let mut gradient = vec![0.0_f32; parameters.len()];
        for ((part, of), shard) in parts {
            sum += part;
            count += of;
            gradient.iter_mut().zip(&shard).for_each(|(sum, part)| *sum += part);
        }
        if count > 0 {
            self.step(&mut gradient, count);
        }
        (sum, count)
    }

    /// One step of Adam. The loss of a step is the mean over levels and steps ahead, times the number of levels × steps: the scale the rate is
    /// meant for.
    fn step(&mut self, gradient: &mut [f32], count: usize) {
        let factor = self.shape.contract.outputs() as f32 / count as f32;
        gradient.iter_mut().for_each(|value| *value *= factor);
        let length = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let longest = LONGEST_GRADIENT * self.shape.contract.outputs() as f64 / 10.0;
        let shorten = if length > longest { (longest / length) as f32 } else { 1.0 };
        self.state.steps += 1;
        let along = self.state.epoch as f64 / self.options.epochs.max(1) as f64;
        let rate = self.options.rate * (0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * along).cos()));
        let bias = |beta: f32| 1.0 - f64::from(beta).powf(self.state.steps as f64);
        let rate = (rate * bias(BETAS.1).sqrt() / bias(BETAS.0)) as f32;
        let [first, second] = &mut self.moments;
        for (((parameter, slope), first), second) in
            self.parameters.iter_mut().zip(&*gradient).zip(first.iter_mut()).zip(second.iter_mut())
        {
            let slope = slope * shorten;
            *first = BETAS.0 * *first + (1.0 - BETAS.0) * slope;
            *second = BETAS.1 * *second + (1.0 - BETAS.1) * slope * slope;
            *parameter -= rate * *first / (second.sqrt() + EPSILON);
        }
    }
}

/// Does `work` on every shard, at most `threads` at a time, and gives the results in order.
fn in_shards<R: Send>(
    origins: &[Origin],
    threads: usize,
    passes: &mut Vec<Pass<f32>>,
    work: impl Fn(&[Origin], &mut Pass<f32>) -> R + Sync,
) -> Vec<R> {
    let shards: Vec<&[Origin]> = origins.chunks(SHARD).collect();
    let threads = threads.clamp(1, shards.len().max(1));
    passes.resize_with(threads.max(passes.len()), Pass::default);
    if threads == 1 {
        return shards.into_iter().map(|shard| work(shard, &mut passes[0])).collect();
    }
    let mut results: Vec<Option<R>> = shards.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let each = shards.len().div_ceil(threads);
        for ((shards, results), pass) in shards.chunks(each).zip(results.chunks_mut(each)).zip(passes.iter_mut()) {
            let work = &work;
            scope.spawn(move || {
                for (shard, result) in shards.iter().zip(results) {
                    *result = Some(work(shard, pass));
                }
            });
        }
    });
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract() -> Contract {
        Contract { window: 24, horizon: 8, levels: vec![0.1, 0.5, 0.9], ..Contract::default() }
    }

    fn options() -> Options {
        Options { hidden: 6, epochs: 3, windows: 150, rate: 5e-3, ..Options::default() }
    }

    fn whole(threads: usize) -> Trainer {
        let data = Dataset::generated(contract(), 1, 9);
        let mut trainer = Trainer::new(contract(), Options { threads, ..options() }).unwrap();
        trainer.run(&data, &mut |_, _| ControlFlow::Continue(())).unwrap();
        trainer
    }

    #[test]
    fn the_same_seed_gives_the_same_network_whatever_the_threads_and_interruptions() {
        let data = Dataset::generated(contract(), 1, 9);
        let once = whole(1);
        assert_eq!(once.best(), whole(2).best());
        // Interrupted in the middle of the second epoch, and resumed from its checkpoint.
        let mut saved = Vec::new();
        let mut first = Trainer::new(contract(), options()).unwrap();
        first
            .run(&data, &mut |progress, trainer| {
                if progress.epoch_ended {
                    saved = trainer.checkpoint();
                }
                if progress.epoch == 1 && progress.done > 60 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
        assert_eq!(first.epochs(), 1);
        let mut second = Trainer::resume(&saved, &contract(), options()).unwrap();
        second.run(&data, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(second.best(), once.best());
        assert_eq!(second.best_score(), once.best_score());
        let other = Trainer::new(contract(), Options { seed: 2, ..options() }).unwrap();
        assert_ne!(other.best(), first.best());
    }

    #[test]
    fn learning_lowers_the_held_out_loss_below_that_of_seasonal_naive() {
        let data = Dataset::generated(contract(), 1, 9);
        let trainer = whole(1);
        let naive = crate::dataset::naive_score(trainer.shape(), &data, &data.epoch(1, 0, 300), &data.held());
        let before = Trainer::new(contract(), options()).unwrap().score(&data, &data.held(), &mut Vec::new());
        let after = trainer.best_score().unwrap();
        assert!(after < 0.95 * before && after < naive, "{before} -> {after}, naive {naive}");
    }

    #[test]
    fn a_training_that_gets_no_better_ends_early() {
        let data = Dataset::generated(contract(), 1, 9);
        let mut trainer =
            Trainer::new(contract(), Options { rate: 1e-12, patience: 2, epochs: 50, windows: 64, ..options() })
                .unwrap();
        trainer.run(&data, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert!(trainer.epochs() < 50, "{}", trainer.epochs());
    }

    #[test]
    fn a_damaged_or_foreign_checkpoint_is_refused_with_a_reason() {
        let trainer = Trainer::new(contract(), options()).unwrap();
        let saved = trainer.checkpoint();
        let refused = |bytes: &[u8], options: Options| {
            Trainer::resume(bytes, &contract(), options).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused(&saved, options()), "");
        assert!(refused(b"junk", options()).contains("not a training"));
        assert!(refused(&saved[..saved.len() - 3], options()).contains("cut off"));
        assert!(refused(&saved[..40], options()).contains("cut off"));
        assert!(refused(&saved, Options { hidden: 7, ..options() }).contains("other options"));
    }

    #[test]
    fn nothing_to_learn_from_is_said() {
        let mut trainer = Trainer::new(contract(), options()).unwrap();
        let error = trainer.run(&Dataset::new(contract()), &mut |_, _| ControlFlow::Continue(())).unwrap_err();
        assert!(error.to_string().starts_with("0 usable series"), "{error}");
    }
}
