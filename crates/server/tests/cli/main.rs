//! The program as a person meets it: what it prints, what it refuses and how it says so.

mod check;
mod check_serve;
mod dev;
mod documents;
mod operate;
mod postgres;
mod readme;
mod refusals;
mod stripe;
mod support;
