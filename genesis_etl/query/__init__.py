"""The questions: the tables over a lake, the reports, and the engines that run them."""
