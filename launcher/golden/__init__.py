"""Golden cases: how an edge must behave, as data in kong/golden/, and the runner that checks any edge, real Kong or ours."""
