use std::ops::ControlFlow;
use neural::{contract::Contract, dataset::Dataset, train::{Options, Trainer}};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (seed, series, epochs, windows, out): (u64, usize, usize, usize, &str) = (a[1].parse().unwrap(), a[2].parse().unwrap(), a[3].parse().unwrap(), a[4].parse().unwrap(), &a[5]);
    let data = Dataset::generated(Contract::default(), seed, series);
    println!("{:?}", data.counts());
    let mut t = Trainer::new(Contract::default(), Options { seed, epochs, windows, ..Options::default() }).unwrap();
    t.run(&data, &mut |p, t| { if p.epoch_ended { println!("{} {:.5} {:?}", p.epoch, p.loss, p.best);
        let (onnx, m) = neural::finish::finish(t, &data, "generated", seed).unwrap();
        neural::manifest::write(out.as_ref(), &onnx, &m).unwrap(); }
        ControlFlow::Continue(()) }).unwrap();
    let (onnx, m) = neural::finish::finish(&t, &data, "generated", seed).unwrap();
    neural::manifest::write(out.as_ref(), &onnx, &m).unwrap();
    println!("{:?}", m.scores);
}
