//! The results of [`crate::capacity`] as tables and pictures.

use std::fmt::Write;
use std::path::Path;

use plotters::prelude::*;

use crate::capacity::{Found, Load, Model, Shape, run};
use crate::report::time;

/// The sizes that are looked at.
pub const WORKERS: [usize; 9] = [1, 2, 4, 8, 12, 16, 32, 64, 128];

const PLACEMENTS: [&str; 3] = ["round robin", "least loaded", "idle first"];

/// Speed-ups that the C++ original projected over one GIL: cores, from, to.
pub const PROJECTED: [(usize, f64, f64); 3] = [(4, 3.0, 4.0), (8, 5.0, 8.0), (12, 8.0, 12.0)];

/// A line of a plot: its name, and points.
type Line = (String, Vec<(f64, f64)>);

/// The saturated speed-up over one worker, for each size.
pub fn speedups(model: &Model) -> Vec<(usize, Found, f64)> {
    let closed = |workers: usize| {
        run(
            &Model {
                workers,
                load: Load::Closed(workers as u64 * 8 + 8),
                requests: 20_000 + 2000 * workers as u64,
                ..*model
            },
            1,
        )
    };
    let one = closed(1).throughput;
    WORKERS
        .iter()
        .map(|workers| (*workers, closed(*workers)))
        .map(|(w, found)| (w, found, found.throughput / one))
        .collect()
}

/// All of it: tables to a text, plots into a directory.
pub fn report(model: &Model, measured: &[(usize, f64)], directory: Option<&Path>) -> Result<String, String> {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Handler {}, I/O {} a request on one thread, wakeup {}, interference {} per further worker.\n",
        time(model.service_ns),
        time(model.io_ns),
        time(model.wake_ns),
        model.interference
    );
    let _ = writeln!(
        text,
        "### Saturated: speed-up over one worker\n\n| workers | answers/s | utilisation | speed-up | projected | measured |\n|--:|--:|--:|--:|--:|--:|"
    );
    let speedups = speedups(model);
    for (workers, found, speedup) in &speedups {
        let projected = PROJECTED.iter().find(|(cores, ..)| cores == workers);
        let projected = projected.map_or_else(String::new, |(_, from, to)| format!("{from:.0}–{to:.0}×"));
        let seen = measured.iter().find(|(known, _)| known == workers);
        let seen = seen.map_or_else(String::new, |(_, speedup)| format!("{speedup:.2}×"));
        let (throughput, used) = (found.throughput, found.utilisation * 100.0);
        let _ = writeln!(text, "| {workers} | {throughput:.0} | {used:.0} % | {speedup:.2}× | {projected} | {seen} |");
    }
    for shape in Shape::ALL {
        let _ = writeln!(
            text,
            "\n### {}, 90 % of capacity asked for\n\n| workers | placement | answers/s | utilisation | p50 | p99 | p999 | depth, mean | depth, most |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|",
            shape.name()
        );
        let mut lines: Vec<Line> = PLACEMENTS.iter().map(|name| ((*name).to_owned(), Vec::new())).collect();
        for workers in WORKERS {
            for (placement, line) in lines.iter_mut().enumerate() {
                let requests = 50_000 + 1000 * workers as u64;
                let asked =
                    Model { workers, placement: placement as u64, shape, load: Load::Open(0.9), requests, ..*model };
                let Found { throughput, utilisation, percentiles: [p50, p99, p999], depth, .. } = run(&asked, 1);
                let used = utilisation * 100.0;
                let _ = writeln!(
                    text,
                    "| {workers} | {} | {throughput:.0} | {used:.0} % | {} | {} | {} | {:.1} | {} |",
                    line.0,
                    time(p50),
                    time(p99),
                    time(p999),
                    depth.0,
                    depth.1
                );
                line.1.push((workers as f64, p99 as f64 / 1e6));
            }
        }
        if let Some(directory) = directory {
            let file = directory.join(format!("capacity-p99-{}.svg", shape.name().replace(' ', "-")));
            plot(&file, &format!("p99 at 90 % of capacity, {} handlers", shape.name()), "p99, ms", &lines, &[])?;
        }
    }
    if let Some(directory) = directory {
        let ours = speedups.iter().map(|(workers, _, speedup)| (*workers as f64, *speedup)).collect();
        let projected =
            |place: fn(&(usize, f64, f64)) -> f64| PROJECTED.iter().map(|p| (p.0 as f64, place(p))).collect();
        let lines = vec![
            ("the model".to_owned(), ours),
            ("projected for the C++ original, lowest".to_owned(), projected(|p| p.1)),
            ("projected for the C++ original, highest".to_owned(), projected(|p| p.2)),
        ];
        let points: Vec<_> = measured.iter().map(|(workers, speedup)| (*workers as f64, *speedup)).collect();
        plot(
            &directory.join("capacity-speedup.svg"),
            "Saturated: speed-up over one worker",
            "times one worker",
            &lines,
            &points,
        )?;
    }
    Ok(text)
}

/// Lines over the number of workers, both on logarithmic scales, and points that were measured.
fn plot(file: &Path, title: &str, y: &str, lines: &[Line], points: &[(f64, f64)]) -> Result<(), String> {
    let values =
        || lines.iter().flat_map(|(_, line)| line.iter().map(|(_, value)| *value)).filter(|value| *value > 0.0);
    let low = values().fold(f64::MAX, f64::min) * 0.8;
    let high = values().fold(0.0, f64::max) * 1.25;
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(file, (760, 440)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d((1.0..140.0).log_scale(), (low..high).log_scale())?;
        chart.configure_mesh().x_desc("workers").y_desc(y).light_line_style(WHITE).draw()?;
        for (place, (name, line)) in lines.iter().enumerate() {
            let color = Palette99::pick(place).to_rgba();
            let series = LineSeries::new(line.iter().copied(), color.stroke_width(2));
            let legend = move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2));
            chart.draw_series(series)?.label(name).legend(legend);
        }
        if !points.is_empty() {
            let dots = points.iter().map(|point| Circle::new(*point, 5, BLACK.filled()));
            let legend = |(x, y)| Circle::new((x + 9, y), 5, BLACK.filled());
            chart.draw_series(dots)?.label("measured").legend(legend);
        }
        let place = SeriesLabelPosition::UpperLeft;
        chart.configure_series_labels().position(place).background_style(WHITE).border_style(BLACK).draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("{}: {error}", file.display()))
}
