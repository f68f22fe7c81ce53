<#
.SYNOPSIS
  Leads a port of this computer to the virtual machine of WSL, whose address changes at each of its starts.
.DESCRIPTION
  Enable-MenderGateway.ps1 -Mode Nat makes a scheduled task of it. Run by hand, it needs an administrator.
#>
[CmdletBinding()]
param(
  [ValidateRange(1, 65535)] [int]$Port = 443,
  [ValidateRange(1, 65535)] [int]$TargetPort = 443,
  [string]$Distribution = '',
  [ValidateRange(0, 3600)] [int]$WaitSeconds = 300
)
$ErrorActionPreference = 'Stop'

function Get-WslAddress {
  $arguments = @()
  if ($Distribution) { $arguments += @('-d', $Distribution) }
  $arguments += @('hostname', '-I')
  # What wsl.exe writes to standard error must not end the script.
  $ErrorActionPreference = 'Continue'
  $text = (& wsl.exe @arguments 2>$null) -join ' '
  if ($LASTEXITCODE -eq 0 -and $text -match '\b(\d{1,3}(?:\.\d{1,3}){3})\b') { return $Matches[1] }
  return $null
}

$end = (Get-Date).AddSeconds($WaitSeconds)
while (-not ($address = Get-WslAddress)) {
  if ((Get-Date) -gt $end) { throw "WSL says no address after $WaitSeconds s: is Docker Desktop running, and has 'wsl -l' a distribution other than docker-desktop?" }
  Start-Sleep -Seconds 5
}

$listen = @('listenaddress=0.0.0.0', "listenport=$Port")
& netsh.exe interface portproxy delete v4tov4 @listen | Out-Null  # there may be none
& netsh.exe interface portproxy add v4tov4 @listen "connectaddress=$address" "connectport=$TargetPort" | Out-Null
if ($LASTEXITCODE -ne 0) { throw "netsh could not lead port $Port to ${address}:$TargetPort" }
Write-Output "port $Port leads to ${address}:$TargetPort"
