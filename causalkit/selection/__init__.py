"""Selection: measures that rank estimates, scores and models by what they are used for."""
