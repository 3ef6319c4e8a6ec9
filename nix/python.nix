# The Python packages that pyproject.toml names, by their names in nixpkgs.
{
  runtime = ps: [
    ps.fastapi
    ps.httpx
    ps.nvidia-ml-py
    ps.pathspec
    ps.pip
    ps.platformdirs
    ps.psutil
    ps.pydantic
    ps.rich
    ps.typer
    ps.uvicorn
    ps.zstandard
  ];
  test = ps: [
    ps.hypothesis
    ps.pytest-cov
    ps.respx
  ];
}
