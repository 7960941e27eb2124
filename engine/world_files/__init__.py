"""Writing of a world in the contract layout, shared by `synth` and `import`."""
