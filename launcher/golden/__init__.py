"""Golden cases: what an edge has to answer, as data in kong/golden/, and the runner that asks any edge, real Kong or ours."""
