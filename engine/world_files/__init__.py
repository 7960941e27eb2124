"""Writing a world in the contract layout, whoever made its contents: the parts that `synth` and `import` share."""
