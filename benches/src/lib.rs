//! Measurements, one a file in `benches/`, each printed by `cargo bench -p benches --bench NAME`.
