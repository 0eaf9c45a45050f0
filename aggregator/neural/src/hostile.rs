//! Files that must not be served, and what is said of each.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataLocation;
use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, attribute_proto};

use crate::contract::Contract;
use crate::lstm::Shape;
use crate::manifest::{Golden, Manifest, format_of, hash};
use crate::model::Network;
use crate::onnx;
use crate::served::Served;

fn shape() -> Shape {
    shape_of(Contract::without_events())
}

fn shape_of(contract: Contract) -> Shape {
    Shape::new(Contract { window: 24, horizon: 8, levels: vec![0.1, 0.5, 0.9], ..contract }, 6).unwrap()
}

fn good() -> ModelProto {
    let shape = shape();
    onnx::model(&shape, &shape.initial(5))
}

/// Golden vectors as another program would compute them: by our own forward pass.
fn manifest(onnx: &[u8]) -> Manifest {
    manifest_of(&shape(), onnx)
}

fn manifest_of(shape: &Shape, onnx: &[u8]) -> Manifest {
    let parameters = shape.initial(5);
    let golden = (0..3).map(|index| {
        let input: Vec<f32> =
            (0..shape.contract.inputs()).map(|at| ((at * 7 + index * 13) % 11) as f32 / 5.0 - 1.0).collect();
        let batch = crate::lstm::Batch {
            rows: 1,
            inputs: input.clone(),
            actual: vec![0.0; 8],
            known: vec![crate::lstm::Known::Nothing; 8],
        };
        Golden { input, output: crate::lstm::Pass::default().forward(shape, &parameters, &batch).to_vec() }
    });
    Manifest {
        format: format_of(&shape.contract),
        made_by: "a test".to_owned(),
        contract: shape.contract.clone(),
        trained: None,
        scores: None,
        sha256: hash(onnx),
        golden: golden.collect(),
    }
}

/// What is said of a file that was changed.
fn said(change: impl FnOnce(&mut GraphProto, &mut Vec<OperatorSetIdProto>)) -> String {
    let mut model = good();
    change(model.graph.as_mut().unwrap(), &mut model.opset_import);
    said_of(&model.encode_to_vec())
}

fn said_of(onnx: &[u8]) -> String {
    Served::load(onnx, &manifest(onnx)).err().map(|refusal| refusal.0).unwrap_or_default()
}

fn lstm(graph: &mut GraphProto) -> &mut NodeProto {
    graph.node.iter_mut().find(|node| node.op_type == "LSTM").unwrap()
}

fn text(name: &str, value: &str) -> AttributeProto {
    let kind = attribute_proto::AttributeType::String as i32;
    AttributeProto { name: name.to_owned(), r#type: kind, s: value.as_bytes().to_vec(), ..Default::default() }
}

#[track_caller]
fn refused(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said:?}");
    }
}

#[test]
fn a_good_file_is_served_alone_and_among_others_and_computes_what_its_maker_computed() {
    let onnx = good().encode_to_vec();
    let manifest = manifest(&onnx);
    let served = Served::load(&onnx, &manifest).unwrap();
    let inputs: Vec<&[f32]> = manifest.golden.iter().map(|golden| golden.input.as_slice()).collect();
    for count in [1, 2, 9, 70] {
        let inputs: Vec<&[f32]> = inputs.iter().cycle().take(count).copied().collect();
        let answers = served.ask(&inputs).unwrap();
        assert_eq!(answers.len(), count);
        for (index, answer) in answers.iter().enumerate() {
            let golden = &manifest.golden[index % 3].output;
            assert!(answer.iter().zip(golden).all(|(a, b)| (a - b).abs() < 1e-5), "{count} {index}");
        }
    }
    assert_eq!(Network::new(&onnx, manifest).unwrap().manifest().made_by, "a test");
}

#[test]
fn attributes_that_would_be_ignored_are_refused_by_node_and_name() {
    let add = |attribute: AttributeProto| said(|graph, _| lstm(graph).attribute.push(attribute));
    refused(&add(text("direction", "reverse")), &["\"make_last\" (LSTM)", "direction = \"reverse\" is not served"]);
    let clip = AttributeProto { name: "clip".to_owned(), f: 3.0, ..Default::default() };
    refused(&add(clip), &["(LSTM)", "clip = 3 would be ignored"]);
    let activations = AttributeProto {
        name: "activations".to_owned(),
        strings: ["Relu", "Tanh", "Tanh"].map(|name| name.as_bytes().to_vec()).to_vec(),
        ..Default::default()
    };
    refused(&add(activations), &["activations = \"Relu\", \"Tanh\", \"Tanh\" is not served"]);
    refused(&add(onnx::int("input_forget", 1)), &["input_forget = 1 is not served"]);
    refused(&add(onnx::int("layout", 1)), &["layout = 1 is not served"]);
    let harmless = said(|graph, _| lstm(graph).attribute.push(onnx::int("input_forget", 0)));
    assert_eq!(harmless, "");
}

#[test]
fn operators_and_domains_that_are_not_served_are_named() {
    refused(&said(|graph, _| graph.node[0].op_type = "Loop".to_owned()), &["\"make_by_step\" (Loop)", "not served"]);
    refused(&said(|graph, _| graph.node[3].domain = "com.example".to_owned()), &["\"com.example\"", "(Gemm)"]);
    refused(&said(|_, sets| sets[0].version = 9), &["operator set 9", "opset_version=17"]);
    refused(
        &said(|_, sets| sets.push(OperatorSetIdProto { domain: "ai.onnx.ml".to_owned(), version: 3 })),
        &["\"ai.onnx.ml\"", "standard"],
    );
    refused(&said(|graph, _| graph.node.clear()), &["0 nodes"]);
}

#[test]
fn a_file_that_reaches_for_another_file_is_refused() {
    let external = said(|graph, _| {
        let tensor = &mut graph.initializer[0];
        tensor.raw_data.clear();
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![tract_onnx::pb::StringStringEntryProto {
            key: "location".to_owned(),
            value: "/etc/passwd".to_owned(),
        }];
    });
    refused(&external, &["\"W\"", "another file"]);
}

#[test]
fn tensors_that_lie_about_themselves_are_refused() {
    refused(&said(|graph, _| graph.initializer[1].dims = vec![1, 24, 1_000_000_000]), &["\"R\"", "impossible sizes"]);
    refused(&said(|graph, _| graph.initializer[1].dims = vec![-1, 24, 6]), &["\"R\"", "impossible sizes"]);
    refused(&said(|graph, _| graph.initializer[1].raw_data.truncate(575)), &["\"R\" has 143 values", "ask for 144"]);
    let nan = f32::NAN.to_le_bytes();
    refused(&said(|graph, _| graph.initializer[1].raw_data[..4].copy_from_slice(&nan)), &["\"R\"", "not finite"]);
    refused(&said(|graph, _| graph.initializer[1].data_type = 11), &["\"R\" is neither of 32-bit floats"]);
}

#[test]
fn a_small_file_that_would_fill_memory_is_refused_before_it_does() {
    let bomb = said(|graph, _| {
        let last = graph.node.last_mut().unwrap();
        last.output[0] = "doubled0".to_owned();
        for turn in 0..40 {
            let (from, to) = (format!("doubled{turn}"), format!("doubled{}", turn + 1));
            let joined = onnx::node("Concat", &[&from, &from], &[&to], vec![onnx::int("axis", 1)]);
            graph.node.push(joined);
        }
        graph.node.push(onnx::node("Identity", &["doubled40"], &[onnx::OUTPUT], vec![]));
    });
    refused(&bomb, &["(Concat)", "numbers, at most"]);
    // Constants alone, which tract would join while it loads.
    let constants = said(|graph, _| {
        graph.initializer.push(onnx::integers("huge", &[1 << 20, 1 << 20]));
        graph.node.insert(0, onnx::node("ConstantOfShape", &["huge"], &["zeros"], vec![]));
    });
    refused(&constants, &["\"make_zeros\" (ConstantOfShape)", "at most"]);
    refused(&said_of(&vec![8_u8; crate::check::MOST_BYTES + 1]), &["bytes, at most"]);
}

#[test]
fn a_small_file_that_would_compute_for_ever_is_refused() {
    let slow = said(|graph, _| {
        let size = 700_i64;
        graph.initializer.push(onnx::floats("square", &[size, size], vec![0.0; (size * size) as usize]));
        graph.node.insert(0, onnx::node("MatMul", &["square", "square"], &["power0"], vec![]));
        graph.node.insert(1, onnx::node("MatMul", &["power0", "square"], &["power1"], vec![]));
        for turn in 1..90 {
            let (from, to) = (format!("power{turn}"), format!("power{}", turn + 1));
            graph.node.insert(turn + 1, onnx::node("MatMul", &[&from, "square"], &[&to], vec![]));
        }
    });
    refused(&slow, &["(MatMul)", "at most"]);
}

#[test]
fn graphs_that_contradict_themselves_or_the_contract_are_refused() {
    refused(
        &said(|graph, _| graph.node.swap(0, 1)),
        &["\"make_last\" (LSTM)", "\"by_step\" is made nowhere before it"],
    );
    refused(&said(|graph, _| graph.node[2].output[0] = "by_step".to_owned()), &["(Squeeze)", "made twice"]);
    refused(&said(|graph, _| lstm(graph).attribute[0].i = 7), &["(LSTM)", "hidden_size is 7, R says 6"]);
    refused(&said(|graph, _| graph.input.push(onnx::value("second", &[1, 1]))), &["2 inputs"]);
    refused(&said(|graph, _| graph.input[0] = onnx::value(onnx::INPUT, &[24, 4])), &["[?, 24, 4]", "[series, 24, 9]"]);
    let wide = said(|graph, _| graph.output[0] = onnx::value(onnx::OUTPUT, &[9, 3]));
    refused(&wide, &["output", "[?, 9, 3]", "[series, 8, 3]"]);
    // The file says nothing of its output's sizes, and makes others.
    let other = said(|graph, _| {
        let value = graph.output[0].r#type.as_mut().unwrap().value.as_mut().unwrap();
        let tract_onnx::pb::type_proto::Value::TensorType(tensor) = value;
        tensor.shape = None;
        let tensor = graph.initializer.iter_mut().find(|tensor| tensor.name == "corrections_ends").unwrap();
        *tensor = onnx::integers("corrections_ends", &[4]);
    });
    refused(&other, &["[1, 8, 2]", "[series, horizon, levels] = [1, 8, 3]"]);
}

#[test]
fn a_file_that_mixes_up_series_or_computes_something_else_fails_its_golden_vectors() {
    // Works for one series only: the state of the first is given to all.
    let mixed = said(|graph, _| {
        graph.initializer.push(onnx::integers("first", &[0]));
        let shown = onnx::node("Gather", &["said_all", "first"], &["said_first"], vec![onnx::int("axis", 0)]);
        graph.node[3].output[0] = "said_all".to_owned();
        graph.node[3].name = "make_said_all".to_owned();
        graph.node.insert(4, shown);
        graph.node.insert(5, onnx::node("Shape", &["said_all"], &["said_shape"], vec![]));
        graph.node.insert(6, onnx::node("Expand", &["said_first", "said_shape"], &["said"], vec![]));
    });
    refused(&mixed, &["golden[1], among 64", "does not compute what the file's maker computed"]);
    let other = said(|graph, _| graph.initializer[0].raw_data[2..4].copy_from_slice(&[0, 0x40]));
    refused(&other, &["golden[0], among 1"]);
}

#[test]
fn junk_and_what_only_the_engine_refuses_are_errors_and_never_panics() {
    refused(&said_of(b"not onnx at all"), &["not an ONNX file"]);
    refused(&said_of(&[]), &["exactly one operator set"]);
    let good = good().encode_to_vec();
    for end in (0..good.len()).step_by(977) {
        assert_ne!(said_of(&good[..end]), "", "cut off at {end}");
    }
    // One byte after the other, wherever the structure is.
    let mut served = 0;
    for at in (0..good.len().min(1_200)).step_by(13) {
        let mut file = good.clone();
        file[at] ^= 0x15;
        served += usize::from(said_of(&file).is_empty());
    }
    assert!(served < 40, "{served} changed files pass (names and versions may change)");
}

#[test]
fn a_manifest_of_another_file_or_without_proof_is_refused() {
    let onnx = good().encode_to_vec();
    let said = |change: fn(&mut Manifest)| {
        let mut manifest = manifest(&onnx);
        change(&mut manifest);
        Served::load(&onnx, &manifest).err().map(|refusal| refusal.0).unwrap_or_default()
    };
    refused(&said(|it| it.sha256 = "00".to_owned()), &["sha256", "do not belong together"]);
    refused(&said(|it| it.golden.clear()), &["golden: 0 vectors"]);
    refused(&said(|it| it.golden[1].input.truncate(215)), &["golden[1].input has 215 numbers", "216"]);
    refused(&said(|it| it.golden.iter_mut().for_each(|golden| golden.output.fill(0.0))), &["proves nothing"]);
    refused(&said(|it| it.format = "2".to_owned()), &["format is \"2\""]);
    refused(&said(|it| it.contract.horizon = 0), &["contract.horizon"]);
}

#[test]
fn the_manifest_says_which_contract_and_both_are_served() {
    for (contract, format) in
        [(Contract::without_events(), "foreshadow network 1"), (Contract::default(), "foreshadow network 2")]
    {
        let shape = shape_of(contract);
        let onnx = onnx::write(&shape, &shape.initial(5));
        let made = manifest_of(&shape, &onnx);
        assert_eq!(made.format, format);
        Served::load(&onnx, &made).unwrap();
        // The second version may name what the first does, and not the other way round.
        let said = |format: &str| {
            let manifest = Manifest { format: format.to_owned(), ..made.clone() };
            Served::load(&onnx, &manifest).err().map(|refusal| refusal.0).unwrap_or_default()
        };
        assert_eq!(said("foreshadow network 2"), "");
        if shape.events().is_some() {
            refused(&said("foreshadow network 1"), &["\"event_intensity\" needs the format \"foreshadow network 2\""]);
        }
    }
}
