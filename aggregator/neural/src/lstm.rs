//! The network and its gradients.
//!
//! An LSTM (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000; gates in ONNX's order i, o, f, c) reads the window; its last
//! hidden state goes through one dense layer. Per step ahead that gives two shares and one correction per level: the
//! answer is share × yesterday + share × last week + correction. So a network that has learned nothing is already
//! the seasonal floor, and what it learns is when to leave it.
//!
//! Where the contract has events ahead, two more shares per level (the same at every step) are added: of what they are announced to add, and of what that
//! came to before. At first the second is 1 and the first 0: an event is what it was.
//!
//! Generic over the number type, so that the code that trains in 32 bits is checked against finite differences in 64.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::activation::Real;
use crate::contract::{Contract, Feature};
use crate::random::Random;

/// Sizes of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// What it is shown and asked.
    pub contract: Contract,
    /// Width of the hidden state.
    pub hidden: usize,
    /// Where `day_ahead` and `week_ahead` stand among the features.
    anchors: [usize; 2],
    /// Where `event_ahead` and `event_before` stand, if they do.
    events: Option<[usize; 2]>,
}

/// Where each tensor lies in the parameters, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// `[4·hidden][features]`.
    pub input: (usize, usize),
    /// `[4·hidden][hidden]`.
    pub recurrent: (usize, usize),
    /// `[4·hidden]`.
    pub gates: (usize, usize),
    /// `[horizon·(2 + levels)][hidden]`, then `[2·levels][hidden]` where events are taken.
    pub dense: (usize, usize),
    /// `[horizon·(2 + levels)]`, then `[2·levels]` where events are taken.
    pub offset: (usize, usize),
}

impl Shape {
    /// A network of this width for a contract.
    ///
    /// # Errors
    /// When the contract cannot be served, or lacks the features the network leans on.
    pub fn new(contract: Contract, hidden: usize) -> Result<Self, String> {
        contract.validate()?;
        if !(1..=512).contains(&hidden) {
            return Err(format!("hidden {hidden}: 1 to 512"));
        }
        let anchor = |feature: Feature| {
            contract.position(feature).ok_or_else(|| format!("the network needs the feature {}", feature.word()))
        };
        let anchors = [anchor(Feature::DayAhead)?, anchor(Feature::WeekAhead)?];
        let events = match [Feature::EventAhead, Feature::EventBefore].map(|feature| contract.position(feature)) {
            [Some(ahead), Some(before)] => Some([ahead, before]),
            [None, None] => None,
            _ => return Err("the network needs the features event_ahead and event_before, or neither".to_owned()),
        };
        Ok(Self { contract, hidden, anchors, events })
    }

    /// Where `day_ahead` and `week_ahead` stand among the features.
    pub fn anchors(&self) -> [usize; 2] {
        self.anchors
    }

    /// Where `event_ahead` and `event_before` stand among the features, if they do.
    pub fn events(&self) -> Option<[usize; 2]> {
        self.events
    }

    /// Outputs of the dense layer that belong to a step ahead, all steps together.
    pub fn of_steps(&self) -> usize {
        self.contract.horizon * (2 + self.contract.levels.len())
    }

    /// Outputs of the dense layer that are shares of events.
    pub fn of_events(&self) -> usize {
        if self.events.is_some() { 2 * self.contract.levels.len() } else { 0 }
    }

    /// Outputs of the dense layer.
    pub fn dense(&self) -> usize {
        self.of_steps() + self.of_events()
    }

    /// Places of the tensors.
    pub fn layout(&self) -> Layout {
        let (hidden, features) = (self.hidden, self.contract.features.len());
        let mut end = 0;
        let mut take = |count: usize| {
            end += count;
            (end - count, end)
        };
        Layout {
            input: take(4 * hidden * features),
            recurrent: take(4 * hidden * hidden),
            gates: take(4 * hidden),
            dense: take(self.dense() * hidden),
            offset: take(self.dense()),
        }
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.layout().offset.1
    }

    /// Parameters to begin with: small, the forget gate open, the shares half yesterday and half last week, the levels apart as those of
    /// a normal distribution.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed, 0);
        let layout = self.layout();
        let mut parameters = vec![0.0_f32; self.parameters()];
        let mut fill = |(from, to): (usize, usize), reach: f64| {
            parameters[from..to].iter_mut().for_each(|value| *value = random.within(-reach, reach) as f32);
        };
        let reach = 1.0 / (self.hidden as f64).sqrt();
        fill(layout.input, reach);
        fill(layout.recurrent, reach);
        fill(layout.dense, 0.1 * reach);
        parameters[layout.gates.0 + 2 * self.hidden..layout.gates.0 + 3 * self.hidden].fill(1.0);
        let columns = 2 + self.contract.levels.len();
        let (steps, events) = parameters[layout.offset.0..layout.offset.1].split_at_mut(self.of_steps());
        let came = events.len() / 2;
        events[came..].fill(1.0);
        for row in steps.chunks_exact_mut(columns) {
            row[..2].fill(0.5);
            for (value, level) in row[2..].iter_mut().zip(&self.contract.levels) {
                *value = 0.4 * crate::model::normal_quantile(*level) as f32;
            }
        }
        parameters
    }
}

/// Examples side by side: inputs by step, and what came.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<T> {
    /// How many.
    pub rows: usize,
    /// `[step][row][feature]`.
    pub inputs: Vec<T>,
    /// `[row][step ahead]`, scaled as the inputs.
    pub actual: Vec<T>,
    /// What is known of it.
    pub known: Vec<Known>,
}

/// What is known of a value to forecast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it was not measured, or an event made it.
    Nothing,
    /// It was measured.
    Value,
    /// It was at least this.
    AtLeast,
}

/// Memory of one pass, kept between batches.
#[derive(Debug)]
pub struct Pass<T> {
    /// The recurrent weights, transposed: a product reads them anew at every step.
    turned: Vec<T>,
    gates: Vec<T>,
    cells: Vec<T>,
    squashed: Vec<T>,
    states: Vec<T>,
    dense: Vec<T>,
    answers: Vec<T>,
}

impl<T: Real> Default for Pass<T> {
    fn default() -> Self {
        Self {
            turned: vec![],
            gates: vec![],
            cells: vec![],
            squashed: vec![],
            states: vec![],
            dense: vec![],
            answers: vec![],
        }
    }
}

fn view<T>(values: &[T], rows: usize, columns: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns]).expect("a slice of that many")
}

fn view_mut<T>(values: &mut [T], rows: usize, columns: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, columns), &mut values[..rows * columns]).expect("a slice of that many")
}

impl<T: Real> Pass<T> {
    /// Answers `[row][step ahead][level]` of a batch.
    pub fn forward(&mut self, shape: &Shape, parameters: &[T], batch: &Batch<T>) -> &[T] {
        let (layout, hidden, rows) = (shape.layout(), shape.hidden, batch.rows);
        let (steps, features) = (shape.contract.window, shape.contract.features.len());
        let (wide, cell) = (rows * 4 * hidden, rows * hidden);
        self.gates.resize(steps * wide, T::zero());
        self.cells.resize((steps + 1) * cell, T::zero());
        self.states.resize((steps + 1) * cell, T::zero());
        self.squashed.resize(steps * cell, T::zero());
        self.cells[..cell].fill(T::zero());
        self.states[..cell].fill(T::zero());
        let bias = &parameters[layout.gates.0..layout.gates.1];
        self.gates.chunks_exact_mut(4 * hidden).for_each(|row| row.copy_from_slice(bias));
        let input = view(&parameters[layout.input.0..layout.input.1], 4 * hidden, features);
        let inputs = view(&batch.inputs, steps * rows, features);
        general_mat_mul(
            T::one(),
            &inputs,
            &input.t(),
            T::one(),
            &mut view_mut(&mut self.gates, steps * rows, 4 * hidden),
        );
        self.turned.resize(4 * hidden * hidden, T::zero());
        let recurrent = view(&parameters[layout.recurrent.0..layout.recurrent.1], 4 * hidden, hidden);
        view_mut(&mut self.turned, hidden, 4 * hidden).assign(&recurrent.t());
        let turned = view(&self.turned, hidden, 4 * hidden);
        for step in 0..steps {
            let (past, next) = self.states.split_at_mut((step + 1) * cell);
            let before = view(&past[step * cell..], rows, hidden);
            let gates = &mut self.gates[step * wide..(step + 1) * wide];
            general_mat_mul(T::one(), &before, &turned, T::one(), &mut view_mut(gates, rows, 4 * hidden));
            let (old, new) = self.cells.split_at_mut((step + 1) * cell);
            let old = old[step * cell..].chunks_exact(hidden);
            let new = new[..cell].chunks_exact_mut(hidden);
            let squashed = self.squashed[step * cell..(step + 1) * cell].chunks_exact_mut(hidden);
            let states = next[..cell].chunks_exact_mut(hidden);
            for ((((gates, old), new), squashed), state) in
                gates.chunks_exact_mut(4 * hidden).zip(old).zip(new).zip(squashed).zip(states)
            {
                step_forward(gates, old, new, squashed, state);
            }
        }
        self.answer(shape, parameters, batch);
        &self.answers
    }

    fn answer(&mut self, shape: &Shape, parameters: &[T], batch: &Batch<T>) {
        let (layout, hidden, rows) = (shape.layout(), shape.hidden, batch.rows);
        let (steps, horizon, levels) = (shape.contract.window, shape.contract.horizon, shape.contract.levels.len());
        let outputs = shape.dense();
        self.dense.resize(rows * outputs, T::zero());
        let offset = &parameters[layout.offset.0..layout.offset.1];
        self.dense.chunks_exact_mut(outputs).for_each(|row| row.copy_from_slice(offset));
        let dense = view(&parameters[layout.dense.0..layout.dense.1], outputs, hidden);
        let last = view(&self.states[steps * rows * hidden..], rows, hidden);
        general_mat_mul(T::one(), &last, &dense.t(), T::one(), &mut view_mut(&mut self.dense, rows, outputs));
        self.answers.resize(rows * horizon * levels, T::zero());
        let columns = 2 + levels;
        let rows = self.dense.chunks_exact(outputs).zip(self.answers.chunks_exact_mut(horizon * levels));
        for (row, (said, answers)) in rows.enumerate() {
            let (said, shares) = said.split_at(shape.of_steps());
            for (step, (said, answer)) in said.chunks_exact(columns).zip(answers.chunks_exact_mut(levels)).enumerate() {
                let [day, week] = ahead(shape, batch, row, step, shape.anchors);
                let base = said[0] * day + said[1] * week;
                answer.iter_mut().zip(&said[2..]).for_each(|(answer, correction)| *answer = *correction + base);
                for (adds, shares) in events(shape, batch, row, step).into_iter().zip(shares.chunks_exact(levels)) {
                    answer.iter_mut().zip(shares).for_each(|(answer, share)| *answer += *share * adds);
                }
            }
        }
    }

    /// The sum of pinball losses of the last [`Pass::forward`] and how many there were; adds the gradient of the *sum* to `gradient`.
    pub fn backward(&mut self, shape: &Shape, parameters: &[T], batch: &Batch<T>, gradient: &mut [T]) -> (f64, usize) {
        let (layout, hidden, rows) = (shape.layout(), shape.hidden, batch.rows);
        let (steps, features) = (shape.contract.window, shape.contract.features.len());
        let (horizon, levels, outputs) = (shape.contract.horizon, shape.contract.levels.len(), shape.dense());
        let (wide, cell) = (rows * 4 * hidden, rows * hidden);
        let sum = losses(shape, &self.answers, batch);
        // The dense layer's own errors replace what it said.
        for (row, said) in self.dense.chunks_exact_mut(outputs).enumerate() {
            let (said, shares) = said.split_at_mut(shape.of_steps());
            shares.fill(T::zero());
            for (step, said) in said.chunks_exact_mut(2 + levels).enumerate() {
                let at = row * horizon + step;
                let [day, week] = ahead(shape, batch, row, step, shape.anchors);
                let answers = &self.answers[at * levels..(at + 1) * levels];
                let mut base = T::zero();
                for ((slot, answer), level) in said[2..].iter_mut().zip(answers).zip(&shape.contract.levels) {
                    *slot = slope(*level, *answer, batch.actual[at], batch.known[at]);
                    base += *slot;
                }
                said[0] = base * day;
                said[1] = base * week;
                for (adds, shares) in events(shape, batch, row, step).into_iter().zip(shares.chunks_exact_mut(levels)) {
                    shares.iter_mut().zip(&said[2..]).for_each(|(share, slope)| *share += *slope * adds);
                }
            }
        }
        let errors = view(&self.dense, rows, outputs);
        let last = view(&self.states[steps * cell..], rows, hidden);
        let part = &mut gradient[layout.dense.0..layout.dense.1];
        general_mat_mul(T::one(), &errors.t(), &last, T::one(), &mut view_mut(part, outputs, hidden));
        add_columns(&self.dense, &mut gradient[layout.offset.0..layout.offset.1]);
        let dense = view(&parameters[layout.dense.0..layout.dense.1], outputs, hidden);
        let mut state = vec![T::zero(); cell];
        general_mat_mul(T::one(), &errors, &dense, T::zero(), &mut view_mut(&mut state, rows, hidden));
        let mut carried = vec![T::zero(); cell];
        let recurrent = view(&parameters[layout.recurrent.0..layout.recurrent.1], 4 * hidden, hidden);
        for step in (0..steps).rev() {
            let gates = &mut self.gates[step * wide..(step + 1) * wide];
            let old = self.cells[step * cell..(step + 1) * cell].chunks_exact(hidden);
            let squashed = self.squashed[step * cell..(step + 1) * cell].chunks_exact(hidden);
            for ((((gates, old), squashed), state), carried) in gates
                .chunks_exact_mut(4 * hidden)
                .zip(old)
                .zip(squashed)
                .zip(state.chunks_exact(hidden))
                .zip(carried.chunks_exact_mut(hidden))
            {
                step_backward(gates, old, squashed, state, carried);
            }
            let errors = view(gates, rows, 4 * hidden);
            general_mat_mul(T::one(), &errors, &recurrent, T::zero(), &mut view_mut(&mut state, rows, hidden));
        }
        let errors = view(&self.gates, steps * rows, 4 * hidden);
        let inputs = view(&batch.inputs, steps * rows, features);
        let part = &mut gradient[layout.input.0..layout.input.1];
        general_mat_mul(T::one(), &errors.t(), &inputs, T::one(), &mut view_mut(part, 4 * hidden, features));
        let before = view(&self.states, steps * rows, hidden);
        let part = &mut gradient[layout.recurrent.0..layout.recurrent.1];
        general_mat_mul(T::one(), &errors.t(), &before, T::one(), &mut view_mut(part, 4 * hidden, hidden));
        add_columns(&self.gates, &mut gradient[layout.gates.0..layout.gates.1]);
        sum
    }
}

/// One row of one step; `gates` holds what goes into the gates and then what comes out.
fn step_forward<T: Real>(gates: &mut [T], old: &[T], new: &mut [T], squashed: &mut [T], state: &mut [T]) {
    let hidden = old.len();
    gates[..3 * hidden].iter_mut().for_each(|gate| *gate = gate.sigmoid());
    gates[3 * hidden..].iter_mut().for_each(|gate| *gate = gate.tanh());
    let (input, rest) = gates.split_at(hidden);
    let (output, rest) = rest.split_at(hidden);
    let (forget, proposal) = rest.split_at(hidden);
    for at in 0..hidden {
        new[at] = forget[at] * old[at] + input[at] * proposal[at];
    }
    squashed.iter_mut().zip(&*new).for_each(|(squashed, cell)| *squashed = cell.tanh());
    for at in 0..hidden {
        state[at] = output[at] * squashed[at];
    }
}

/// One row of one step; `gates` holds what came out of the gates and then the errors of what went in.
fn step_backward<T: Real>(gates: &mut [T], old: &[T], squashed: &[T], state: &[T], carried: &mut [T]) {
    let hidden = old.len();
    let (input, rest) = gates.split_at_mut(hidden);
    let (output, rest) = rest.split_at_mut(hidden);
    let (forget, proposal) = rest.split_at_mut(hidden);
    let (input, output, forget, proposal) =
        (&mut input[..hidden], &mut output[..hidden], &mut forget[..hidden], &mut proposal[..hidden]);
    let (squashed, state, carried) = (&squashed[..hidden], &state[..hidden], &mut carried[..hidden]);
    let one = T::one();
    for at in 0..hidden {
        let (i, o, f, g) = (input[at], output[at], forget[at], proposal[at]);
        let cell = carried[at] + state[at] * o * (one - squashed[at] * squashed[at]);
        input[at] = cell * g * i * (one - i);
        output[at] = state[at] * squashed[at] * o * (one - o);
        forget[at] = cell * old[at] * f * (one - f);
        proposal[at] = cell * i * (one - g * g);
        carried[at] = cell * f;
    }
}

/// Two features at the place of a step to forecast.
fn ahead<T: Real>(shape: &Shape, batch: &Batch<T>, row: usize, step: usize, places: [usize; 2]) -> [T; 2] {
    let features = shape.contract.features.len();
    let at = shape.contract.window - shape.contract.horizon + step;
    places.map(|place| batch.inputs[(at * batch.rows + row) * features + place])
}

/// What events add at a step to forecast: as announced, and as they came before.
fn events<T: Real>(shape: &Shape, batch: &Batch<T>, row: usize, step: usize) -> [T; 2] {
    shape.events.map_or([T::zero(); 2], |places| ahead(shape, batch, row, step, places))
}

fn add_columns<T: Real>(rows: &[T], sums: &mut [T]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += *value);
    }
}

/// Slope of the pinball loss by the answer.
fn slope<T: Real>(level: f64, answer: T, actual: T, known: Known) -> T {
    let level = T::of(level);
    match known {
        Known::Nothing => T::zero(),
        // Beyond a lower bound nothing is known, so nothing is charged.
        Known::AtLeast if answer >= actual => T::zero(),
        Known::Value | Known::AtLeast => {
            if actual > answer {
                -level
            } else {
                T::one() - level
            }
        }
    }
}

/// Sum and number of the pinball losses of answers `[row][step ahead][level]`.
pub fn losses<T: Real>(shape: &Shape, answers: &[T], batch: &Batch<T>) -> (f64, usize) {
    let levels = &shape.contract.levels;
    let (mut sum, mut count) = (0.0, 0);
    for ((answers, actual), known) in answers.chunks_exact(levels.len()).zip(&batch.actual).zip(&batch.known) {
        if *known == Known::Nothing {
            continue;
        }
        for (answer, level) in answers.iter().zip(levels) {
            sum += slope(*level, *answer, *actual, *known).wide() * (answer.wide() - actual.wide());
        }
        count += levels.len();
    }
    (sum, count)
}
