"""Golden cases (kong/golden/): how an edge must behave, and their runner for real Kong or ours."""
