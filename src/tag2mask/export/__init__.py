"""Trained networks as files for other programs: ONNX, torch.export, safetensors, and a model card."""
