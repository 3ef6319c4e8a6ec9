# The Python packages that pyproject.toml names, by their names in nixpkgs.
{
  runtime = ps: [
    ps.fastapi
    ps.filelock
    ps.httpx
    ps.nvidia-ml-py
    ps.platformdirs
    ps.psutil
    ps.pydantic
    ps.typer
    ps.uvicorn
  ];
  test = ps: [
    ps.hypothesis
    ps.pytest-cov
    ps.respx
  ];
}
