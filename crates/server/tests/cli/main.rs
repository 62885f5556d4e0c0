//! The program as a person meets it: what it prints, what it refuses and how it says so.

mod check;
mod dev;
mod operate;
mod postgres;
mod readme;
mod refusals;
mod stripe;
mod support;
