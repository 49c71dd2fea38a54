"""From labelled imagery to a trained network."""
