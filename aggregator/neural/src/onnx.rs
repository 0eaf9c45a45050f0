//! Writes a trained network as standard ONNX: operator set 17, intermediate representation 8, symbolic batch.

use prost::Message;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, type_proto,
};

use crate::lstm::Shape;

/// What our own files call their input.
pub const INPUT: &str = "history";
/// What our own files call their output.
pub const OUTPUT: &str = "quantiles";

/// The file of a network.
pub fn write(shape: &Shape, parameters: &[f32]) -> Vec<u8> {
    model(shape, parameters).encode_to_vec()
}

/// The same, as messages.
pub fn model(shape: &Shape, parameters: &[f32]) -> ModelProto {
    let contract = &shape.contract;
    let (layout, hidden) = (shape.layout(), shape.hidden as i64);
    let (window, horizon) = (contract.window as i64, contract.horizon as i64);
    let (features, levels) = (contract.features.len() as i64, contract.levels.len() as i64);
    let outputs = shape.dense() as i64;
    let [day, week] = shape.anchors().map(|anchor| anchor as i64);
    let part = |(from, to): (usize, usize)| parameters[from..to].to_vec();
    // ONNX keeps the offsets of input and state apart; ours are one.
    let mut offsets = part(layout.gates);
    offsets.resize(8 * shape.hidden, 0.0);
    let slice = |name: &str, input: &str, from: &[i64], to: &[i64], axes: &[i64]| {
        let ends = [("starts", from), ("ends", to), ("axes", axes)]
            .map(|(what, values)| integers(&format!("{name}_{what}"), values));
        let names = ends.each_ref().map(|tensor| tensor.name.clone());
        (node("Slice", &[input, &names[0], &names[1], &names[2]], &[name], vec![]), ends)
    };
    let slices = [
        slice("day_share", "shares_and_corrections", &[0], &[1], &[2]),
        slice("week_share", "shares_and_corrections", &[1], &[2], &[2]),
        slice("corrections", "shares_and_corrections", &[2], &[2 + levels], &[2]),
        slice("yesterday", INPUT, &[window - horizon, day], &[window, day + 1], &[1, 2]),
        slice("last_week", INPUT, &[window - horizon, week], &[window, week + 1], &[1, 2]),
    ];
    let mut initializer = vec![
        floats("W", &[1, 4 * hidden, features], part(layout.input)),
        floats("R", &[1, 4 * hidden, hidden], part(layout.recurrent)),
        floats("B", &[1, 8 * hidden], offsets),
        floats("dense", &[outputs, hidden], part(layout.dense)),
        floats("offset", &[outputs], part(layout.offset)),
        integers("first_axis", &[0]),
        integers("answer_shape", &[-1, horizon, 2 + levels]),
    ];
    // Without events all the dense layer says belongs to steps.
    let of_steps = if shape.events().is_some() { "of_steps" } else { "said" };
    let mut nodes = vec![
        node("Transpose", &[INPUT], &["by_step"], vec![ints("perm", &[1, 0, 2])]),
        node("LSTM", &["by_step", "W", "R", "B"], &["", "last"], vec![int("hidden_size", hidden)]),
        node("Squeeze", &["last", "first_axis"], &["state"], vec![]),
        node("Gemm", &["state", "dense", "offset"], &["said"], vec![int("transB", 1)]),
    ];
    if shape.events().is_some() {
        let (node, ends) = slice("of_steps", "said", &[0], &[shape.of_steps() as i64], &[1]);
        nodes.push(node);
        initializer.extend(ends);
    }
    nodes.push(node("Reshape", &[of_steps, "answer_shape"], &["shares_and_corrections"], vec![]));
    for (node, ends) in slices {
        nodes.push(node);
        initializer.extend(ends);
    }
    nodes.extend([
        node("Mul", &["day_share", "yesterday"], &["day_part"], vec![]),
        node("Mul", &["week_share", "last_week"], &["week_part"], vec![]),
        node("Add", &["day_part", "week_part"], &["base"], vec![]),
    ]);
    let Some([ahead, before]) = shape.events().map(|places| places.map(|place| place as i64)) else {
        nodes.push(node("Add", &["corrections", "base"], &[OUTPUT], vec![]));
        return file(shape, nodes, initializer);
    };
    initializer.push(integers("event_shape", &[-1, 2, levels]));
    let slices = [
        slice("of_events", "said", &[outputs - 2 * levels], &[outputs], &[1]),
        slice("announced_share", "event_shares", &[0], &[1], &[1]),
        slice("came_share", "event_shares", &[1], &[2], &[1]),
        slice("announced", INPUT, &[window - horizon, ahead], &[window, ahead + 1], &[1, 2]),
        slice("came", INPUT, &[window - horizon, before], &[window, before + 1], &[1, 2]),
    ];
    for (place, (own, ends)) in slices.into_iter().enumerate() {
        nodes.push(own);
        initializer.extend(ends);
        if place == 0 {
            nodes.push(node("Reshape", &["of_events", "event_shape"], &["event_shares"], vec![]));
        }
    }
    nodes.extend([
        node("Add", &["corrections", "base"], &["without"], vec![]),
        node("Mul", &["announced", "announced_share"], &["announced_part"], vec![]),
        node("Mul", &["came", "came_share"], &["came_part"], vec![]),
        node("Add", &["announced_part", "came_part"], &["added"], vec![]),
        node("Add", &["without", "added"], &[OUTPUT], vec![]),
    ]);
    file(shape, nodes, initializer)
}

/// A file of these nodes.
fn file(shape: &Shape, nodes: Vec<NodeProto>, initializer: Vec<TensorProto>) -> ModelProto {
    let contract = &shape.contract;
    let sizes = [contract.window, contract.features.len(), contract.horizon, contract.levels.len()];
    let [window, features, horizon, levels] = sizes.map(|size| size as i64);
    ModelProto {
        ir_version: 8,
        opset_import: vec![OperatorSetIdProto { version: 17, ..Default::default() }],
        producer_name: "foreshadow".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(GraphProto {
            name: "foreshadow".to_owned(),
            node: nodes,
            initializer,
            input: vec![value(INPUT, &[window, features])],
            output: vec![value(OUTPUT, &[horizon, levels])],
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(crate) fn node(kind: &str, input: &[&str], output: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let name = output.iter().find(|name| !name.is_empty()).map(|name| format!("make_{name}")).unwrap_or_default();
    NodeProto {
        name,
        op_type: kind.to_owned(),
        input: names(input),
        output: names(output),
        attribute,
        ..Default::default()
    }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    let kind = attribute_proto::AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), r#type: kind, i: value, ..Default::default() }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let kind = attribute_proto::AttributeType::Ints as i32;
    AttributeProto { name: name.to_owned(), r#type: kind, ints: values.to_vec(), ..Default::default() }
}

pub(crate) fn floats(name: &str, dims: &[i64], values: Vec<f32>) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let data_type = DataType::Float as i32;
    TensorProto { name: name.to_owned(), dims: dims.to_vec(), data_type, raw_data, ..Default::default() }
}

pub(crate) fn integers(name: &str, values: &[i64]) -> TensorProto {
    let raw_data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let data_type = DataType::Int64 as i32;
    TensorProto { name: name.to_owned(), dims: vec![values.len() as i64], data_type, raw_data, ..Default::default() }
}

/// A float tensor `[series, …]` of any number of series.
pub(crate) fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let fixed = dims.iter().map(|dim| dimension::Value::DimValue(*dim));
    let dims = std::iter::once(dimension::Value::DimParam("series".to_owned())).chain(fixed);
    let shape =
        TensorShapeProto { dim: dims.map(|dim| Dimension { value: Some(dim), ..Default::default() }).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: name.to_owned(), r#type: Some(kind), ..Default::default() }
}
