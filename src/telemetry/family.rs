//! Metric families made by hand, for values that do not live in the registry.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// What a value does over time.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// It only grows, and starts again at zero with the process.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// A family of one value without labels.
pub(super) fn single(kind: Kind, name: &str, help: &str, value: u64) -> MetricFamily {
    single_float(kind, name, help, float(value))
}

/// A family of one value that may have a fraction.
pub(super) fn single_float(kind: Kind, name: &str, help: &str, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    match kind {
        Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        Kind::Gauge => {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
    }
    let kind = match kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
    };
    family(kind, name, help, vec![metric])
}

/// A family of the given metrics.
pub(super) fn family(
    kind: MetricType,
    name: &str,
    help: &str,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// One label.
pub(super) fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

/// Prometheus knows only floating-point numbers.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "a count above 2^53 loses its last digits in Prometheus anyway"
)]
pub(super) const fn float(value: u64) -> f64 {
    value as f64
}
