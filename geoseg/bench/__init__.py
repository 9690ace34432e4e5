"""Speed and memory benchmarks that a user can run."""
